use super::*;

/// A latency whose percentiles are `p50`, twice and four times as much.
pub fn latency(p50_us: f64) -> Latency {
    let mut histogram = vec![0; BOUNDS_US.len() + 1];
    histogram[4] = 10;
    let (p90_us, p99_us, p999_us, max_us) = (p50_us * 2.0, p50_us * 2.0, p50_us * 4.0, p50_us * 4.0);
    Latency { count: 10, p50_us, p90_us, p99_us, p999_us, max_us, histogram }
}

fn provenance() -> Provenance {
    Provenance {
        tidemill: "0.1.0".into(),
        date: "2026-01-01T00:00:00Z".into(),
        date_ms: 1_767_225_600_000,
        form: Form::Quick,
        seconds: 12.0,
        load_average_before: 0.1,
        load_average_after: 1.0,
        cpus: 2,
        beside_a_node: false,
        complete: true,
    }
}

/// A machine with two cores.
pub fn core() -> CoreProfile {
    let mut fingerprint = Fingerprint::default();
    fingerprint.set("cpu_model", Some("Fast CPU"));
    fingerprint.set("kernel", Some("6.12.0"));
    CoreProfile {
        version: VERSION,
        fingerprint,
        shards: vec![Shard { id: 0, cpu: 0, numa: 0 }],
        measured: MeasuredCores {
            clock_ns: 20.0,
            syscall_ns: 90.0,
            crc_gb_per_second: 12.0,
            copy_cached_gb_per_second: 30.0,
            copy_memory_gb_per_second: 8.0,
            steal_percent: 0.0,
            quota_cores: None,
            timer_late: latency(5.0),
            loopback: latency(20.0),
            wake: Some(Wake { parked: latency(12.4), spinning: latency(0.3) }),
        },
        provenance: provenance(),
    }
}

/// A disk whose bandwidth stops growing at a depth of 4.
pub fn disk() -> DiskProfile {
    let mut fingerprint = Fingerprint::default();
    fingerprint.set("device_model", Some("Quick 9000"));
    fingerprint.set("scheduler", Some("none"));
    let cells = [(4096, 1, 20.0), (65_536, 1, 400.0), (65_536, 2, 700.0), (65_536, 4, 1000.0), (65_536, 8, 1050.0)];
    let writes = cells.map(|(bytes, depth, mb_per_second)| WriteCell {
        bytes,
        depth,
        mb_per_second,
        latency: latency(100.0 * f64::from(depth)),
    });
    DiskProfile {
        version: VERSION,
        fingerprint,
        measured: MeasuredDisk {
            file_bytes: 256 << 20,
            direct_io: true,
            fill_percent: 40.0,
            bandwidth: Bandwidth {
                write_mb_per_second: 1200.0,
                read_mb_per_second: 2000.0,
                random_writes_per_second: 30_000.0,
                random_reads_per_second: 200_000.0,
            },
            flush: Flush { write: latency(30.0), flush: latency(60.0) },
            read_idle: latency(80.0),
            read_beside_writes: latency(160.0),
            writes: writes.to_vec(),
            drift: vec![Drift { second: 10, mb_per_second: 700.0, p50_us: 100.0, p99_us: 200.0 }],
        },
        provenance: provenance(),
    }
}

fn text(profile: &impl serde::Serialize) -> String {
    toml::to_string(profile).expect("a profile is TOML")
}

#[test]
fn a_profile_reads_back_as_it_was_written() {
    assert_eq!(parse::<CoreProfile>(&text(&core())), Ok(core()));
    assert_eq!(parse::<DiskProfile>(&text(&disk())), Ok(disk()));
}

#[test]
fn a_profile_that_is_cut_off_anywhere_is_refused() {
    for whole in [text(&core()), text(&disk())] {
        assert!(whole.ends_with("complete = true\n"), "the mark of completeness is the last line: {whole}");
        for end in (0..whole.len() - 1).filter(|end| whole.is_char_boundary(*end)) {
            let part = &whole[..end];
            let error = match whole.contains("[measured.bandwidth]") {
                true => parse::<DiskProfile>(part).map(drop),
                false => parse::<CoreProfile>(part).map(drop),
            };
            assert!(matches!(error, Err(ProfileError::CutOff(_))), "after {end} bytes: {error:?}");
        }
    }
}

/// A part of the message, and the change that makes a profile impossible.
type Impossible<P> = (&'static str, fn(&mut P));

#[test]
fn prof_1_impossible_values_are_refused() {
    let of_disk: [Impossible<DiskProfile>; 9] = [
        ("-1 us is not a latency", |disk| disk.measured.read_idle.p50_us = -1.0),
        ("not in order", |disk| disk.measured.flush.flush.p99_us = 1e6),
        ("is not a latency", |disk| disk.measured.writes[0].latency.max_us = f64::INFINITY),
        ("count is 0", |disk| disk.measured.read_beside_writes.count = 0),
        ("the histogram has not 10 operations", |disk| disk.measured.writes[1].latency.histogram[0] = 7),
        ("the histogram has not 10 operations", |disk| disk.measured.writes[1].latency.histogram[0] = u64::MAX),
        ("whole blocks of 4096 bytes", |disk| disk.measured.writes[0].bytes = 5000),
        ("writes is empty", |disk| disk.measured.writes.clear()),
        ("fill_percent = 101 is not in 0..=100", |disk| disk.measured.fill_percent = 101.0),
    ];
    for (expected, change) in of_disk {
        let mut disk = disk();
        change(&mut disk);
        let error = parse::<DiskProfile>(&text(&disk)).expect_err(expected).to_string();
        assert!(error.contains(expected) && error.contains("tidemill tune disk"), "{error}");
    }
    let of_core: [Impossible<CoreProfile>; 4] = [
        ("steal_percent = 250", |core| core.measured.steal_percent = 250.0),
        ("crc_gb_per_second = NaN", |core| core.measured.crc_gb_per_second = f64::NAN),
        ("shards is empty", |core| core.shards.clear()),
        ("the fingerprint is empty", |core| core.fingerprint.0.clear()),
    ];
    for (expected, change) in of_core {
        let mut core = core();
        change(&mut core);
        let error = parse::<CoreProfile>(&text(&core)).expect_err(expected).to_string();
        assert!(error.contains(expected) && error.contains("tidemill tune cores"), "{error}");
    }
}

#[test]
fn another_version_and_another_text_are_refused() {
    let newer = text(&core()).replacen("version = 1", "version = 2", 1);
    assert!(matches!(parse::<CoreProfile>(&newer), Err(ProfileError::Version { found: 2, .. })));
    let wrong = text(&core()).replacen("clock_ns = 20.0", "clock_ns = \"fast\"", 1);
    let error = parse::<CoreProfile>(&wrong).expect_err("a text for a number").to_string();
    let line = 1 + wrong.lines().position(|line| line.contains("fast")).expect("it was replaced");
    assert!(error.contains(&format!("line {line}:")), "{error}");
    // A core profile under the name of a disk profile.
    assert!(matches!(parse::<DiskProfile>(&text(&core())), Err(ProfileError::Malformed { .. })));
}

#[test]
fn a_changed_identity_is_another_machine() {
    let (then, mut now) = (disk().fingerprint, disk().fingerprint);
    assert_eq!(then.differences(&now), []);
    now.set("scheduler", Some("bfq"));
    now.set("a_new_property", Some("1"));
    let differences = then.differences(&now);
    assert_eq!(differences.iter().map(ToString::to_string).collect::<Vec<_>>(), ["scheduler was none, is bfq"]);
    assert!(!differences[0].is_identity);
    now.0.remove("device_model");
    let differences = then.differences(&now);
    assert!(differences[0].is_identity, "{differences:?}");
    assert_eq!(differences[0].to_string(), "device_model was Quick 9000, is unknown");
}

#[test]
fn spinning_lasts_as_long_as_it_saves() {
    let value = |change: fn(&mut CoreProfile)| {
        let mut core = core();
        change(&mut core);
        derive(Some(&core), None).into_iter().map(|derived| (derived.setting, derived.value)).collect::<Vec<_>>()
    };
    let spin = |us: &str| vec![("spin.us", us.to_owned())];
    assert_eq!(value(|_| {}), spin("12"));
    assert_eq!(value(|core| core.measured.wake.as_mut().expect("two cores").parked = latency(55.0)), spin("20"));
    assert_eq!(value(|core| core.measured.quota_cores = Some(1.5)), spin("0"));
    assert_eq!(value(|core| core.measured.steal_percent = 8.0), spin("0"));
    assert_eq!(value(|core| core.measured.wake = None), vec![]);
}

#[test]
fn the_journal_is_as_deep_as_the_bandwidth_grows() {
    let derived = derive(None, Some(&disk()));
    assert_eq!((derived[0].setting, derived[0].value.as_str()), ("journal.depth", "4"));
    assert!(derived[0].reason.contains("4 in flight: 1000 MB/s and p99 800 us"), "{}", derived[0].reason);
    let mut faster = disk();
    faster.measured.writes[4].mb_per_second = 9000.0;
    assert_eq!(derive(None, Some(&faster))[0].value, "4", "a node does not gain from more");
    let mut flat = disk();
    flat.measured.writes[2].mb_per_second = 410.0;
    let derived = derive(None, Some(&flat)).remove(0);
    assert_eq!(derived.value, "1");
    for figure in ["1 in flight: 400 MB/s", "2 in flight: 410 MB/s"] {
        assert!(derived.reason.contains(figure), "{}", derived.reason);
    }
    for Derived { setting, value, .. } in derive(Some(&core()), Some(&disk())) {
        let row = crate::config::broker::setting(setting).expect("a setting of the node");
        assert!(row.parse(&value).is_ok(), "{setting}={value}");
    }
}

#[test]
fn the_prediction_is_a_durable_write_and_a_round_trip() {
    let prediction = predict(Some(&core()), &disk()).expect("a cell of 4 KiB");
    assert_eq!((prediction.p50_us, prediction.p99_us), (120.0, 220.0));
    let prediction = predict(None, &disk()).expect("a cell of 4 KiB");
    assert_eq!((prediction.p50_us, prediction.p99_us), (100.0, 200.0));
}

#[test]
fn a_measurement_on_a_busy_machine_is_doubtful() {
    assert_eq!(provenance().doubt(), None);
    let busy = Provenance { load_average_before: 1.1, ..provenance() };
    assert!(busy.doubt().is_some_and(|doubt| doubt.contains("load average 1.1 before the measurement, on 2 cores")));
    assert_eq!(Provenance { cpus: 4, ..busy }.doubt(), None);
    assert!(Provenance { beside_a_node: true, ..provenance() }.doubt().is_some());
}

#[test]
fn the_example_profiles_are_profiles() {
    let examples = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tuning/profiles");
    let mut count = 0;
    for class in std::fs::read_dir(&examples).expect("the examples") {
        let class = class.expect("an entry").path();
        let text = |name: &str| std::fs::read_to_string(class.join(name)).expect("both profiles");
        let core = parse::<CoreProfile>(&text(CORE_FILE)).expect("core.toml");
        let disk = parse::<DiskProfile>(&text(DISK_FILE)).expect("disk.toml");
        assert!(predict(Some(&core), &disk).is_some(), "{}", class.display());
        count += 1;
    }
    assert!(count > 0, "there is an example");
}
