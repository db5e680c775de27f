//! Compares Produce and Fetch with the referee at every version, in both directions.

use kafka_protocol::messages as theirs;
use kafka_protocol::protocol::{Decodable, Encodable};

use super::{Dice, Sample};
use crate::model::{ErrorCode, TopicId};
use crate::wire::data::fetch::*;
use crate::wire::data::produce::*;
use crate::wire::*;

const ROUNDS: u64 = 60;

/// The name and id of a topic, in the types of both codecs.
struct SampleTopic {
    name: String,
    id: TopicId,
}

impl SampleTopic {
    fn sample(dice: &mut Dice) -> SampleTopic {
        // Unique, so that two topics in a row are not taken for one.
        SampleTopic { name: format!("t{}", dice.roll()), id: TopicId::sample(dice, 0) }
    }

    fn at(&self, version: i16) -> Topic<'_> {
        if version >= 13 { Topic::Id(self.id) } else { Topic::Name(&self.name) }
    }

    fn their_name(&self, version: i16) -> theirs::TopicName {
        theirs::TopicName(if version >= 13 { "".into() } else { self.name.clone().into() })
    }

    fn their_id(&self, version: i16) -> uuid::Uuid {
        uuid::Uuid::from_bytes(if version >= 13 { self.id.0 } else { [0; 16] })
    }
}

/// Topics with one to three partitions each.
fn topics(dice: &mut Dice) -> Vec<(SampleTopic, Vec<i32>)> {
    (0..dice.below(4))
        .map(|_| (SampleTopic::sample(dice), (0..1 + dice.below(3)).map(|_| dice.i32()).collect()))
        .collect()
}

fn theirs_written<T: Encodable>(message: &T, version: i16) -> Vec<u8> {
    let mut bytes = Vec::new();
    message.encode(&mut bytes, version).unwrap();
    bytes
}

/// The body of a frame, after length and header.
fn body(api: ApiKey, frame: &[u8], version: i16, is_request: bool) -> Vec<u8> {
    assert_eq!(i32::from_be_bytes(frame[..4].try_into().unwrap()) as usize, frame.len() - 4);
    let mut r = Reader::new(&frame[4..]);
    if is_request {
        let header = frame::RequestHeader::decode(&mut r).unwrap();
        assert_eq!((header.api.key, header.version, header.correlation_id), (api, version, 7));
        assert_eq!(header.client_id.as_deref(), Some("me"));
    } else {
        assert_eq!(frame::decode_response_header(&mut r, api.api(), version), Ok(7));
    }
    r.take(r.remaining()).unwrap().to_vec()
}

fn each_version(api: ApiKey, mut check: impl FnMut(i16, &mut Dice)) {
    let api = api.api();
    for version in api.served_from..=api.max {
        for seed in 0..ROUNDS {
            check(version, &mut Dice(seed * 1000 + version as u64));
        }
    }
}

#[test]
fn produce_requests_agree_with_the_referee() {
    use theirs::produce_request as their;
    each_version(ApiKey::Produce, |version, dice| {
        let transactional_id = Option::<String>::sample(dice, version);
        let head = ProduceHead {
            transactional_id: transactional_id.as_deref(),
            acks: dice.i32() as i16,
            timeout_ms: dice.i32(),
        };
        let topics = topics(dice);
        let records: Vec<Vec<u8>> = topics.iter().flat_map(|(_, p)| p).map(|_| dice.bytes()).collect();

        let mut w = ProduceRequestWriter::new(version, 7, Some("me"), head, topics.len());
        let mut payloads = records.iter();
        let mut their_topics = Vec::new();
        for (topic, partitions) in &topics {
            w.topic(topic.at(version), partitions.len());
            let mut their_partitions = Vec::new();
            for &partition in partitions {
                let payload = payloads.next().unwrap();
                w.partition(partition, payload.as_slice());
                their_partitions.push(
                    their::PartitionProduceData::default()
                        .with_index(partition)
                        .with_records(Some(payload.clone().into())),
                );
            }
            their_topics.push(
                their::TopicProduceData::default()
                    .with_name(topic.their_name(version))
                    .with_topic_id(topic.their_id(version))
                    .with_partition_data(their_partitions),
            );
        }
        let theirs = theirs_written(
            &their::ProduceRequest::default()
                .with_transactional_id(transactional_id.clone().map(|id| theirs::TransactionalId(id.into())))
                .with_acks(head.acks)
                .with_timeout_ms(head.timeout_ms)
                .with_topic_data(their_topics),
            version,
        );
        let pieces = w.finish().unwrap();
        assert_eq!(pieces.bytes(), pieces.to_vec().len());
        assert_eq!(body(ApiKey::Produce, &pieces.to_vec(), version, true), theirs, "v{version}");

        let mut r = Reader::new(&theirs);
        let read = ProduceRequest::decode(&mut r, version).unwrap();
        assert_eq!(r.remaining(), 0);
        assert_eq!(
            (read.transactional_id, read.acks, read.timeout_ms),
            (head.transactional_id, head.acks, head.timeout_ms)
        );
        assert_eq!(read.partition_count, records.len());
        let expected =
            topics.iter().flat_map(|(topic, p)| p.iter().map(move |&p| (topic.at(version), p))).zip(&records);
        let mut found = read.partitions();
        for ((topic, partition), records) in expected {
            let p = found.next().unwrap();
            assert_eq!((p.topic, p.partition, p.records), (topic, partition, records.as_slice()));
            assert_eq!(&theirs[p.records_range()], records.as_slice());
        }
        assert_eq!(found.next(), None);
    });
}

fn leader(dice: &mut Dice) -> CurrentLeader {
    if dice.below(2) == 0 {
        return CurrentLeader::default();
    }
    CurrentLeader { leader_id: dice.below(9000) as i32, leader_epoch: dice.i32() }
}

fn endpoints(dice: &mut Dice) -> Vec<NodeEndpoint<'static>> {
    (0..dice.below(3))
        .map(|_| NodeEndpoint {
            node_id: dice.i32(),
            host: dice.text().into(),
            port: dice.i32(),
            rack: Option::<String>::sample(dice, 0).map(Into::into),
        })
        .collect()
}

#[test]
fn produce_responses_agree_with_the_referee() {
    use theirs::produce_response as their;
    each_version(ApiKey::Produce, |version, dice| {
        let topics = topics(dice);
        let mut ours = ProduceResponse { throttle_time_ms: dice.i32(), ..Default::default() };
        for (topic, partitions) in &topics {
            for &partition in partitions {
                let mut produced = ProducedPartition::refused(topic.at(version), partition, dice.error_code());
                produced.base_offset = dice.i64();
                produced.log_append_time_ms = dice.i64();
                if version >= 5 {
                    produced.log_start_offset = dice.i64();
                }
                if version >= 8 {
                    for _ in 0..dice.below(3) {
                        let message = Option::<String>::sample(dice, 0).map(Into::into);
                        produced.record_errors.push(RecordError { batch_index: dice.i32(), message });
                    }
                    produced.error_message = Option::<String>::sample(dice, 0).map(Into::into);
                }
                if version >= 10 {
                    produced.current_leader = leader(dice);
                }
                ours.partitions.push(produced);
            }
        }
        if version >= 10 {
            ours.node_endpoints = endpoints(dice);
        }

        let mut flat = ours.partitions.iter();
        let their_topics = topics
            .iter()
            .map(|(topic, partitions)| {
                let partitions = flat.by_ref().take(partitions.len()).map(|p| {
                    let leader = their::LeaderIdAndEpoch::default()
                        .with_leader_id(theirs::BrokerId(p.current_leader.leader_id))
                        .with_leader_epoch(p.current_leader.leader_epoch);
                    let errors = p.record_errors.iter().map(|e| {
                        their::BatchIndexAndErrorMessage::default()
                            .with_batch_index(e.batch_index)
                            .with_batch_index_error_message(e.message.as_ref().map(|m| m.to_string().into()))
                    });
                    their::PartitionProduceResponse::default()
                        .with_index(p.partition)
                        .with_error_code(p.error_code.code())
                        .with_base_offset(p.base_offset)
                        .with_log_append_time_ms(p.log_append_time_ms)
                        .with_log_start_offset(p.log_start_offset)
                        .with_record_errors(errors.collect())
                        .with_error_message(p.error_message.as_ref().map(|m| m.to_string().into()))
                        .with_current_leader(leader)
                });
                their::TopicProduceResponse::default()
                    .with_name(topic.their_name(version))
                    .with_topic_id(topic.their_id(version))
                    .with_partition_responses(partitions.collect())
            })
            .collect();
        let their_endpoints = ours.node_endpoints.iter().map(|e| {
            their::NodeEndpoint::default()
                .with_node_id(theirs::BrokerId(e.node_id))
                .with_host(e.host.to_string().into())
                .with_port(e.port)
                .with_rack(e.rack.as_ref().map(|r| r.to_string().into()))
        });
        let theirs = theirs_written(
            &their::ProduceResponse::default()
                .with_responses(their_topics)
                .with_throttle_time_ms(ours.throttle_time_ms)
                .with_node_endpoints(their_endpoints.collect()),
            version,
        );
        let frame = ours.encode_frame(version, 7).unwrap();
        assert_eq!(body(ApiKey::Produce, &frame, version, false), theirs, "v{version}");
        let mut r = Reader::new(&theirs);
        assert_eq!(ProduceResponse::decode(&mut r, version).as_ref(), Ok(&ours), "v{version}");
        assert_eq!(r.remaining(), 0);
    });
}

#[test]
fn fetch_requests_agree_with_the_referee() {
    use theirs::fetch_request as their;
    each_version(ApiKey::Fetch, |version, dice| {
        let (topics, forgotten) = (topics(dice), topics(dice));
        let (rack, cluster) = (dice.text(), Option::<String>::sample(dice, 0));
        let mut ours = FetchRequest {
            replica_id: dice.i32(),
            max_wait_ms: dice.i32(),
            min_bytes: dice.i32(),
            max_bytes: dice.i32(),
            isolation_level: dice.i32() as i8,
            ..Default::default()
        };
        if version >= 7 {
            (ours.session_id, ours.session_epoch) = (dice.i32(), dice.i32());
            let pairs = forgotten.iter().flat_map(|(topic, p)| p.iter().map(move |&p| (topic.at(version), p)));
            ours.forgotten = pairs.collect();
        }
        if version >= 11 {
            ours.rack_id = &rack;
        }
        if version >= 12 {
            ours.cluster_id = cluster.as_deref();
        }
        if version >= 15 {
            ours.replica_epoch = dice.i64();
        }
        for (topic, partitions) in &topics {
            for &partition in partitions {
                let mut fetch = FetchPartition::new(topic.at(version), partition, dice.i64());
                fetch.partition_max_bytes = dice.i32();
                if version >= 5 {
                    fetch.log_start_offset = dice.i64();
                }
                if version >= 9 {
                    fetch.current_leader_epoch = dice.i32();
                }
                if version >= 12 {
                    fetch.last_fetched_epoch = dice.i32();
                }
                if version >= 17 {
                    fetch.replica_directory_id = Option::sample(dice, version).unwrap_or(TopicId::ZERO);
                }
                if version >= 18 {
                    fetch.high_watermark = dice.i64();
                }
                ours.partitions.push(fetch);
            }
        }

        let mut flat = ours.partitions.iter();
        let their_topics = topics.iter().map(|(topic, partitions)| {
            let partitions = flat.by_ref().take(partitions.len()).map(|p| {
                their::FetchPartition::default()
                    .with_partition(p.partition)
                    .with_current_leader_epoch(p.current_leader_epoch)
                    .with_fetch_offset(p.fetch_offset)
                    .with_last_fetched_epoch(p.last_fetched_epoch)
                    .with_log_start_offset(p.log_start_offset)
                    .with_partition_max_bytes(p.partition_max_bytes)
                    .with_replica_directory_id(uuid::Uuid::from_bytes(p.replica_directory_id.0))
                    .with_high_watermark(p.high_watermark)
            });
            their::FetchTopic::default()
                .with_topic(topic.their_name(version))
                .with_topic_id(topic.their_id(version))
                .with_partitions(partitions.collect())
        });
        let mut request = their::FetchRequest::default()
            .with_cluster_id(ours.cluster_id.map(|id| id.to_owned().into()))
            .with_max_wait_ms(ours.max_wait_ms)
            .with_min_bytes(ours.min_bytes)
            .with_max_bytes(ours.max_bytes)
            .with_isolation_level(ours.isolation_level)
            .with_session_id(ours.session_id)
            .with_session_epoch(ours.session_epoch)
            .with_rack_id(ours.rack_id.to_owned().into())
            .with_topics(their_topics.collect());
        if version >= 7 {
            let forgotten = forgotten.iter().map(|(topic, partitions)| {
                their::ForgottenTopic::default()
                    .with_topic(topic.their_name(version))
                    .with_topic_id(topic.their_id(version))
                    .with_partitions(partitions.clone())
            });
            request = request.with_forgotten_topics_data(forgotten.collect());
        }
        let replica = theirs::BrokerId(ours.replica_id);
        if version >= 15 {
            let state = their::ReplicaState::default().with_replica_id(replica).with_replica_epoch(ours.replica_epoch);
            request = request.with_replica_state(state);
        } else {
            request = request.with_replica_id(replica);
        }
        let theirs = theirs_written(&request, version);
        let frame = ours.encode_frame(version, 7, Some("me")).unwrap();
        assert_eq!(body(ApiKey::Fetch, &frame, version, true), theirs, "v{version}");
        let mut r = Reader::new(&theirs);
        assert_eq!(FetchRequest::decode(&mut r, version).as_ref(), Ok(&ours), "v{version}");
        assert_eq!(r.remaining(), 0);
    });
}

#[test]
fn fetch_responses_agree_with_the_referee() {
    each_version(ApiKey::Fetch, |version, dice| {
        let topics = topics(dice);
        let mut head = FetchHead { throttle_time_ms: dice.i32(), error_code: ErrorCode::None, session_id: 0 };
        if version >= 7 {
            (head.error_code, head.session_id) = (dice.error_code(), dice.i32());
        }
        let node_endpoints = if version >= 16 { endpoints(dice) } else { Vec::new() };
        let mut w = FetchResponseWriter::new(version, 7, head, topics.len());
        let mut written = Vec::new();
        for (topic, partitions) in &topics {
            w.topic(topic.at(version), partitions.len());
            for &partition in partitions {
                let mut p = PartitionHead::refused(partition, dice.error_code());
                (p.high_watermark, p.last_stable_offset) = (dice.i64(), dice.i64());
                if version >= 5 {
                    p.log_start_offset = dice.i64();
                }
                if dice.below(2) == 0 {
                    let aborted = |_| AbortedTransaction { producer_id: dice.i64(), first_offset: dice.i64() };
                    p.aborted_transactions = Some((0..partition.rem_euclid(3)).map(aborted).collect());
                }
                if version >= 11 {
                    p.preferred_read_replica = dice.i32();
                }
                if version >= 12 {
                    p.current_leader = leader(dice);
                    if dice.below(2) == 0 {
                        p.diverging_epoch = EpochEndOffset { epoch: dice.i32(), end_offset: 5 };
                    }
                    if dice.below(2) == 0 {
                        p.snapshot_id = EpochEndOffset { epoch: dice.i32(), end_offset: 6 };
                    }
                }
                let parts: Vec<Vec<u8>> = (0..dice.below(4)).map(|_| dice.bytes()).collect();
                w.partition(&p, parts.clone());
                written.push((topic.at(version), p, parts.concat()));
            }
        }
        let pieces = w.finish(&node_endpoints).unwrap();
        let whole = pieces.to_vec();
        assert_eq!(pieces.bytes(), whole.len());
        let iovec = pieces.into_iovec(|head| head, |head, range| head[range].to_vec());
        assert!(iovec.iter().all(|piece| !piece.is_empty()));
        assert_eq!(iovec.concat(), whole);

        // The referee decodes these bytes and encodes the same bytes.
        let body = body(ApiKey::Fetch, &whole, version, false);
        let mut rest = body.as_slice();
        let read = theirs::FetchResponse::decode(&mut rest, version).unwrap();
        assert_eq!(rest.len(), 0);
        assert_eq!(theirs_written(&read, version), body, "v{version}");
        let flat = read.responses.iter().flat_map(|topic| &topic.partitions);
        for (theirs, (_, ours, records)) in flat.zip(&written) {
            assert_eq!(theirs.records.as_deref(), Some(records.as_slice()));
            assert_eq!(theirs.high_watermark, ours.high_watermark);
            assert_eq!(theirs.diverging_epoch.end_offset, ours.diverging_epoch.end_offset);
            assert_eq!(theirs.snapshot_id.epoch, ours.snapshot_id.epoch);
            assert_eq!(theirs.current_leader.leader_epoch, ours.current_leader.leader_epoch);
        }
        assert_eq!(read.session_id, head.session_id);

        // This codec decodes the same values.
        let mut r = Reader::new(&body);
        let read = FetchResponse::decode(&mut r, version).unwrap();
        assert_eq!(r.remaining(), 0);
        assert_eq!((read.head, &read.node_endpoints), (head, &node_endpoints));
        assert_eq!(read.partitions.len(), written.len());
        for (read, (topic, head, records)) in read.partitions.iter().zip(&written) {
            assert_eq!((read.topic, &read.head, read.records), (*topic, head, records.as_slice()));
            assert_eq!(&body[read.records_range()], records.as_slice());
        }
    });
}

#[test]
fn headers_agree_with_the_referee() {
    use kafka_protocol::messages::{RequestHeader, ResponseHeader};
    for api in API_TABLE {
        for version in api.served_from..=api.max {
            for (correlation_id, client_id) in [(0, None), (-1, Some("")), (i32::MIN, Some("client-7"))] {
                let ours = frame::request(api, version, correlation_id, client_id).finish().unwrap();
                let key = theirs::ApiKey::try_from(api.key.code()).unwrap();
                // ListOffsets 11 is newer than the referee, but the referee knows its header version.
                let header_version = key.request_header_version(version);
                let mut header = RequestHeader::default()
                    .with_request_api_key(api.key.code())
                    .with_request_api_version(version)
                    .with_correlation_id(correlation_id);
                header = header.with_client_id(client_id.map(|id| id.into()));
                let theirs = theirs_written(&header, header_version);
                assert_eq!(ours[4..], theirs, "{} v{version}", api.name);
                let mut r = Reader::new(&theirs);
                let read = frame::RequestHeader::decode(&mut r).unwrap();
                assert_eq!((read.api, read.version, read.correlation_id), (api, version, correlation_id));
                assert_eq!(read.client_id.as_deref(), client_id);
                assert_eq!((r.remaining(), r.is_flexible()), (0, api.is_flexible(version)));

                let ours = frame::response(api, version, correlation_id).finish().unwrap();
                let header = ResponseHeader::default().with_correlation_id(correlation_id);
                assert_eq!(ours[4..], theirs_written(&header, key.response_header_version(version)));
            }
        }
    }
}
