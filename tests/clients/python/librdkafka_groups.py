"""What librdkafka's own admin tests (0081) check about groups and offsets, without a security setup."""

from confluent_kafka import Consumer, ConsumerGroupState, ConsumerGroupTopicPartitions, KafkaError, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from records import expect, until

SECONDS = 60


def error_of(future):
    """The code of the error, or None."""
    try:
        future.result()
    except Exception as e:
        return e.args[0].code()
    return None


def administer(bootstrap, topic, create):
    """`create` makes a topic with some partitions."""
    create(bootstrap, topic, 3)
    admin = AdminClient({"bootstrap.servers": bootstrap})
    producer = Producer({"bootstrap.servers": bootstrap})
    for p in range(3):
        for i in range(10):
            producer.produce(topic, f"{p}:{i}", partition=p)
    expect("records without an acknowledgement", producer.flush(SECONDS), 0)
    records_are_deleted(admin, topic)
    for protocol in ("classic", "consumer"):
        group_lives(bootstrap, admin, topic, f"{topic}-{protocol}", protocol)
    offsets_of_no_member(admin, topic, f"{topic}-simple")


def records_are_deleted(admin, topic):
    asked = [TopicPartition(topic, 0, -1), TopicPartition(topic, 1, 4), TopicPartition(topic, 2, 99)]
    got = {of.partition: future for of, future in admin.delete_records(asked).items()}
    expect("the low watermark at the end", got[0].result().low_watermark, 10)
    expect("the low watermark at an offset", got[1].result().low_watermark, 4)
    expect("the error behind the end", error_of(got[2]), KafkaError.OFFSET_OUT_OF_RANGE)


def group_lives(bootstrap, admin, topic, group, protocol):
    consumer = Consumer({
        "bootstrap.servers": bootstrap,
        "group.id": group,
        "group.protocol": protocol,
        "client.id": "member",
        "auto.offset.reset": "earliest",
        "enable.auto.commit": False,
    })
    consumer.subscribe([topic])

    def assigned():
        consumer.poll(0.1)
        return len(consumer.assignment()) == 3

    until(f"{group} has its partitions", SECONDS, assigned)
    consumer.commit(offsets=[TopicPartition(topic, 1, 6)], asynchronous=False)
    listed = {of.group_id: of for of in admin.list_consumer_groups().result().valid}
    expect(f"{group} is listed", (listed[group].state, listed[group].is_simple_consumer_group),
           (ConsumerGroupState.STABLE, False))
    described = admin.describe_consumer_groups([group])[group].result()
    expect(f"the members of {group}", [m.client_id for m in described.members], ["member"])
    expect(f"the partitions of {group}", len(described.members[0].assignment.topic_partitions), 3)
    expect(f"{group} has a coordinator", described.coordinator is not None, True)
    expect(f"deleting {group} alive", error_of(admin.delete_consumer_groups([group])[group]), KafkaError.NON_EMPTY_GROUP)
    moved = ConsumerGroupTopicPartitions(group, [TopicPartition(topic, 1, 7)])
    refused = admin.alter_consumer_group_offsets([moved])[group].result().topic_partitions[0]
    expect(f"moving the offsets of {group} alive", refused.error and refused.error.code(), KafkaError.UNKNOWN_MEMBER_ID)
    expect(f"the offsets of {group}", committed(admin, topic, group), {1: 6})
    consumer.close()
    until(f"{group} is empty", SECONDS, lambda: not admin.describe_consumer_groups([group])[group].result().members)
    admin.alter_consumer_group_offsets([moved])[group].result()
    expect(f"the moved offsets of {group}", committed(admin, topic, group), {1: 7})
    admin.delete_consumer_groups([group])[group].result()
    expect(f"deleting {group} twice", error_of(admin.delete_consumer_groups([group])[group]),
           KafkaError.GROUP_ID_NOT_FOUND)
    expect(f"the offsets of {group} after it", committed(admin, topic, group), {})


def offsets_of_no_member(admin, topic, group):
    """An administrator commits for a group that does not exist."""
    offsets = [TopicPartition(topic, p, 3 + p) for p in range(3)]
    admin.alter_consumer_group_offsets([ConsumerGroupTopicPartitions(group, offsets)])[group].result()
    expect(f"the offsets of {group}", committed(admin, topic, group), {0: 3, 1: 4, 2: 5})
    listed = {of.group_id: of for of in admin.list_consumer_groups().result().valid}
    expect(f"{group} is simple and empty", (listed[group].is_simple_consumer_group, listed[group].state),
           (True, ConsumerGroupState.EMPTY))
    unknown = ConsumerGroupTopicPartitions(group, [TopicPartition(topic + "-not", 0, 1)])
    got = admin.alter_consumer_group_offsets([unknown])[group].result().topic_partitions[0]
    expect("the error of an unknown topic", got.error.code(), KafkaError.UNKNOWN_TOPIC_OR_PART)
    admin.delete_consumer_groups([group])[group].result()


def committed(admin, topic, group):
    """The committed offset of each partition that has one."""
    asked = ConsumerGroupTopicPartitions(group, [TopicPartition(topic, p) for p in range(3)])
    got = admin.list_consumer_group_offsets([asked])[group].result().topic_partitions
    return {of.partition: of.offset for of in got if of.offset >= 0}
