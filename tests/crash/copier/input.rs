//! The input topic, read whole at the end.

use std::collections::BTreeMap;

use tidemill::record::{Decompressor, Records, batches};
use tidemill::tools::client::Client;
use tidemill::tools::client::fetch::{FetchOptions, FetchPosition};

/// Key and value of all input records.
pub type Input = BTreeMap<(i32, i64), (Vec<u8>, String)>;

pub fn read_whole(client: &mut Client, topic: &str, ends: &[i64]) -> Input {
    let mut input = BTreeMap::new();
    let mut decompressor = Decompressor::new(64 << 20);
    for (partition, &end) in ends.iter().enumerate() {
        let partition = partition as i32;
        let mut offset = 0;
        while offset < end {
            let fetched = client.fetch(topic, &[FetchPosition { partition, offset }], FetchOptions::default());
            for fetched in fetched.unwrap_or_else(|e| panic!("{topic}-{partition}: {e}")) {
                for batch in batches(&fetched.records) {
                    let Ok(batch) = batch else { break };
                    let records = decompressor.records(&batch.header, batch.stored_records()).expect("readable");
                    for record in Records::new(&batch.header, records) {
                        let record = record.expect("a good record");
                        let text = String::from_utf8(record.value.expect("a value").to_vec()).expect("UTF-8");
                        input.insert((partition, record.offset.0), (record.key.expect("a key").to_vec(), text));
                    }
                    offset = batch.header.next_offset().0;
                }
            }
        }
    }
    input
}
