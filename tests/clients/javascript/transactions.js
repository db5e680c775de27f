// Transactions as KafkaJS has them: of the first version, with partitions added before they are written to.
'use strict'

module.exports = async (kafka, topic, partitions, count) => {
  const producer = kafka.producer({ transactionalId: `${topic}-writer`, maxInFlightRequests: 1, idempotent: true })
  await producer.connect()
  for (let tx = 0; tx < count; tx++) {
    const transaction = await producer.transaction()
    for (let i = 0; i < (tx % 5) * 3; i++) {
      await transaction.send({ topic, messages: [{ partition: (tx + i) % partitions, key: `k${i}`, value: `${tx}:${i}` }] })
    }
    await (tx % 3 !== 2 ? transaction.commit() : transaction.abort())
  }
  await producer.disconnect()
}
