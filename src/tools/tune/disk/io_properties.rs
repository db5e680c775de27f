//! The file that Seastar's `iotune` writes, and that Redpanda and ScyllaDB read (`--io-properties-file`).
//!
//! A Tidemill node has no use for it: it schedules by the latency of durable writes, which the file lacks.

use crate::config::profile::DiskProfile;

/// The YAML of the file, for the disk that is mounted there.
pub fn render(mount_point: &str, profile: &DiskProfile) -> String {
    let bandwidth = &profile.measured.bandwidth;
    let per_second = |mb: f64| (mb * 1e6).round() as u64;
    // A string of JSON is one of YAML too.
    let mount_point = serde_json::Value::from(mount_point).to_string();
    format!(
        "# Measured by `tidemill tune disk`, {date}, in the format of Seastar's iotune.\n\
         # read_iops: random reads of 4 KiB, 32 in flight. write_iops: random durable writes of 4 KiB, 8 in flight:\n\
         # iotune measures them without flushes, and finds more. Bandwidths: 1 MiB, 4 in flight, bytes per second.\n\
         disks:\n  \
         - mountpoint: {mount_point}\n    \
         read_iops: {read_iops}\n    \
         read_bandwidth: {read}\n    \
         write_iops: {write_iops}\n    \
         write_bandwidth: {write}\n",
        date = profile.provenance.date,
        read_iops = bandwidth.random_reads_per_second.round() as u64,
        read = per_second(bandwidth.read_mb_per_second),
        write_iops = bandwidth.random_writes_per_second.round() as u64,
        write = per_second(bandwidth.write_mb_per_second),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::profile::Bandwidth;
    use crate::config::profile::tests::disk;

    #[test]
    fn the_file_has_the_fields_of_iotune() {
        let mut profile = disk();
        profile.measured.bandwidth = Bandwidth {
            write_mb_per_second: 510.25,
            read_mb_per_second: 545.0,
            random_writes_per_second: 85_000.0,
            random_reads_per_second: 95_000.4,
        };
        let text = render("/srv/a \"b\"", &profile);
        let fields: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        let expected = [
            "disks:",
            "  - mountpoint: \"/srv/a \\\"b\\\"\"",
            "    read_iops: 95000",
            "    read_bandwidth: 545000000",
            "    write_iops: 85000",
            "    write_bandwidth: 510250000",
        ];
        assert_eq!(fields, expected);
    }
}
