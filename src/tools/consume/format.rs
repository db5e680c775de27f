//! Prints one record as text, as a hex dump, or as a line of JSON.

use crate::record::{BatchHeader, Record, TimestampType};
use serde_json::{Map, Value, json};
use std::io::{self, Write};

/// The value of `--format`.
#[derive(clap::ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// The value, one line per record
    Text,
    /// Key and value as hex and characters
    Hex,
    /// One JSON object per line, with all fields
    Json,
}

/// A field of `--with`.
#[derive(clap::ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum Field {
    Partition,
    Offset,
    Timestamp,
    Key,
    Headers,
}

/// Prints records and counts them, up to a maximum.
pub struct Printer<'a> {
    topic: &'a str,
    format: Format,
    fields: &'a [Field],
    count_max: u64,
    printed: u64,
}

impl<'a> Printer<'a> {
    /// A printer for records of `topic`. `fields` precede the value in the text format.
    pub fn new(topic: &'a str, format: Format, fields: &'a [Field], count_max: u64) -> Printer<'a> {
        Printer { topic, format, fields, count_max, printed: 0 }
    }

    /// The number of printed records.
    pub fn printed(&self) -> u64 {
        self.printed
    }

    /// Whether the maximum is reached.
    pub fn is_done(&self) -> bool {
        self.printed >= self.count_max
    }

    /// Prints one record of a batch with this header.
    pub fn print(
        &mut self,
        partition: i32,
        header: &BatchHeader,
        record: &Record<'_>,
        out: &mut impl Write,
    ) -> io::Result<()> {
        self.printed += 1;
        match self.format {
            Format::Text => self.print_text(partition, record, out),
            Format::Hex => self.print_hex(partition, record, out),
            Format::Json => writeln!(out, "{}", self.json(partition, header, record)),
        }
    }

    fn print_text(&self, partition: i32, record: &Record<'_>, out: &mut impl Write) -> io::Result<()> {
        for field in self.fields {
            match field {
                Field::Partition => write!(out, "{partition}")?,
                Field::Offset => write!(out, "{}", record.offset)?,
                Field::Timestamp => write!(out, "{}", record.timestamp)?,
                Field::Key => out.write_all(record.key.unwrap_or(b"(null)"))?,
                Field::Headers => {
                    for (i, header) in record.headers.into_iter().enumerate() {
                        out.write_all(if i == 0 { b"" } else { b"," })?;
                        out.write_all(header.key)?;
                        out.write_all(b"=")?;
                        out.write_all(header.value.unwrap_or(b"(null)"))?;
                    }
                }
            }
            out.write_all(b"\t")?;
        }
        // The value is printed byte for byte, so that a produced file can be restored.
        out.write_all(record.value.unwrap_or(b"(null)"))?;
        out.write_all(b"\n")
    }

    fn print_hex(&self, partition: i32, record: &Record<'_>, out: &mut impl Write) -> io::Result<()> {
        writeln!(out, "{}-{partition} offset {} timestamp {}", self.topic, record.offset, record.timestamp)?;
        for (name, bytes) in [("key", record.key), ("value", record.value)] {
            match bytes {
                None => writeln!(out, "  {name}: null")?,
                Some(bytes) => {
                    writeln!(out, "  {name}: {} bytes", bytes.len())?;
                    hex_dump(bytes, out)?;
                }
            }
        }
        for header in record.headers {
            writeln!(
                out,
                "  header {}: {} bytes",
                String::from_utf8_lossy(header.key),
                header.value.map_or(0, <[u8]>::len)
            )?;
            hex_dump(header.value.unwrap_or_default(), out)?;
        }
        Ok(())
    }

    fn json(&self, partition: i32, header: &BatchHeader, record: &Record<'_>) -> Value {
        let mut object = Map::new();
        object.insert("topic".into(), self.topic.into());
        object.insert("partition".into(), partition.into());
        object.insert("offset".into(), record.offset.0.into());
        object.insert("timestamp".into(), record.timestamp.into());
        let timestamp_type = match header.timestamp_type() {
            TimestampType::CreateTime => "CreateTime",
            TimestampType::LogAppendTime => "LogAppendTime",
        };
        object.insert("timestamp_type".into(), timestamp_type.into());
        insert_bytes(&mut object, "key", record.key);
        insert_bytes(&mut object, "value", record.value);
        let headers = record.headers.into_iter().map(|header| {
            let mut pair = Map::new();
            insert_bytes(&mut pair, "key", Some(header.key));
            insert_bytes(&mut pair, "value", header.value);
            Value::Object(pair)
        });
        object.insert("headers".into(), headers.collect());
        json!(object)
    }
}

/// Inserts UTF-8 as text under `name`, and other bytes as hex under `name_hex`, so that the two cannot be confused.
fn insert_bytes(object: &mut Map<String, Value>, name: &str, bytes: Option<&[u8]>) {
    match bytes.map(|bytes| (bytes, std::str::from_utf8(bytes))) {
        None => object.insert(name.into(), Value::Null),
        Some((_, Ok(text))) => object.insert(name.into(), text.into()),
        Some((bytes, Err(_))) => {
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            object.insert(format!("{name}_hex"), hex.into())
        }
    };
}

/// Prints lines such as `    0000  48 65 6c 6c 6f                                    Hello`.
fn hex_dump(bytes: &[u8], out: &mut impl Write) -> io::Result<()> {
    for (row, chunk) in bytes.chunks(16).enumerate() {
        let hex: String = chunk.iter().map(|byte| format!("{byte:02x} ")).collect();
        let text: String =
            chunk.iter().map(|&byte| if (b' '..=b'~').contains(&byte) { byte as char } else { '.' }).collect();
        writeln!(out, "    {:04x}  {hex:<48} {text}", row * 16)?;
    }
    Ok(())
}
