use super::*;
use crate::config::load;

fn overrides(settings: &[(&str, &str)]) -> Overrides {
    settings.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
}

#[test]
fn each_name_that_changes_is_a_setting_and_each_other_one_is_kafkas_with_its_default() {
    for name in CHANGEABLE {
        assert!(own_setting(name).is_some(), "{name}");
    }
    assert!(OTHERS.is_sorted_by(|a, b| a.name < b.name));
    for row in OTHERS {
        assert!(own_setting(row.name).is_none(), "{} has a part here", row.name);
        row.default_value();
        let found = KafkaSetting::find(row.name).unwrap_or_else(|| panic!("Kafka has no {}", row.name));
        assert_eq!(Some(found.default), row.default, "{}", row.name);
        assert!(matches!(found.treatment, Treatment::NoEffect(_)), "{} is {:?}", row.name, found.treatment);
        assert!(row.doc.starts_with("No effect"), "{}", row.name);
    }
    for name in RESIZED {
        assert!(OTHERS.iter().any(|row| row.name == *name && row.kind.is_whole_number()), "{name}");
    }
}

#[test]
fn a_value_of_one_broker_precedes_that_of_all_then_the_file_then_the_default() {
    let base = load(None, &["message.max.bytes=1000".into(), "log.segment.bytes=2000000".into()]).unwrap();
    let of_all =
        overrides(&[("message.max.bytes", "2000"), ("log.retention.ms", "7"), ("log.cleanup.policy", "compact")]);
    let of_one = overrides(&[("message.max.bytes", "3000"), ("background.threads", "9"), ("nope", "1")]);
    let resolved = |of_all, of_one| resolve(&base, of_all, of_one).config;
    let both = resolved(Some(&of_all), Some(&of_one));
    assert_eq!((both.message_max_bytes, both.log_retention_ms, both.log_segment_bytes), (3000, Some(7), 2_000_000));
    assert_eq!(both.log_cleanup_policy, ["compact"]);
    assert_eq!(both.changed_by("message.max.bytes"), Some(ChangedBy::One));
    assert_eq!(both.changed_by("log.retention.ms"), Some(ChangedBy::All));
    assert_eq!(both.given_value("message.max.bytes"), Some(&Value::Int(1000)));
    assert_eq!(resolved(Some(&of_all), None).message_max_bytes, 2000);
    // A removed change restores the file, from any earlier state.
    assert_eq!(resolve(&both, None, None).config, base);
    assert_eq!(resolved(None, None), base);
}

#[test]
fn a_stored_value_that_is_illegal_or_contradicts_the_file_has_no_effect() {
    let base = load(None, &["socket.request.max.bytes=100000".into(), "message.max.bytes=50000".into()]).unwrap();
    let stored = overrides(&[("message.max.bytes", "200000"), ("log.segment.bytes", "1"), ("log.roll.ms", "5")]);
    let Resolved { config, ignored } = resolve(&base, Some(&stored), None);
    assert_eq!((config.message_max_bytes, config.log_segment_bytes, config.log_roll_ms), (50_000, 1 << 30, Some(5)));
    assert_eq!(ignored, ["message.max.bytes"]);
}

#[test]
fn an_illegal_change_is_refused_with_the_reason() {
    let check = |is_of_one: bool, settings: &[(&str, &str)], expected: &str| {
        let outcome = check_each(&overrides(settings), is_of_one);
        match (expected, outcome) {
            ("", outcome) => assert_eq!(outcome, Ok(()), "{settings:?}"),
            (_, Ok(())) => panic!("{settings:?} is accepted"),
            (_, Err(error)) => assert!(error.to_string().contains(expected), "{settings:?}: {error}"),
        }
    };
    for is_of_one in [true, false] {
        check(is_of_one, &[], "");
        check(is_of_one, &[("background.threads", "9"), ("log.cleanup.policy", "delete,compact")], "");
        check(is_of_one, &[("nope", "1"), ("zookeeper.connect", "x")], "");
        check(is_of_one, &[("listener.name.a.max.connections", "5")], "");
        check(is_of_one, &[("background.threads", "0")], "Value must be at least 1");
        check(is_of_one, &[("log.retention.ms", "soon")], "Not a number of type LONG");
        check(
            is_of_one,
            &[("num.partitions", "2"), ("node.id", "3"), ("log.roll.ms", "x"), ("nope", "1")],
            "Cannot update these configs dynamically: [node.id, num.partitions]",
        );
        check(is_of_one, &[("log.retention.hours", "2")], "dynamically: [log.retention.hours]");
        check(is_of_one, &[("spin.us", "2")], "dynamically: [spin.us]");
        check(is_of_one, &[("authorizer.class.name", "a.B")], "dynamically: [authorizer.class.name]");
        check(is_of_one, &[("config.providers", "file")], "Tidemill runs no Java classes");
        check(is_of_one, &[("metric.reporters", "a.B")], "'a.B' is not one of");
        check(is_of_one, &[("max.connections.per.ip.overrides", "10.0.0.1:5,[::1]:3")], "");
        check(is_of_one, &[("max.connections.per.ip.overrides", "a.example.com:5")], "write the IP addresses");
        check(is_of_one, &[("max.connections", "1")], "");
        check(is_of_one, &[("max.connections", "0")], "would refuse every client");
        check(is_of_one, &[("", "1")], "a broker has at most");
        check(is_of_one, &[("nope", &"x".repeat(VALUE_BYTES_MAX + 1))], "a broker has at most");
    }
    for name in ["ssl.keystore.type", "listener.name.a.ssl.keystore.location"] {
        check(true, &[(name, "JKS")], "cannot be changed: Tidemill has no TLS so far");
        check(false, &[(name, "JKS")], "at default cluster level, broker id must be specified");
    }
    for name in ["sasl.enabled.mechanisms", "principal.builder.class"] {
        check(true, &[(name, "x")], "cannot be changed: Tidemill has no authentication so far");
    }
    check(true, &[("sasl.kerberos.min.time.before.relogin", "58000")], "");
    check(false, &[("sasl.kerberos.min.time.before.relogin", "58000")], "broker id must be specified");
    check(true, &[("listeners", "PLAINTEXT://:9")], "restart it");
    check(false, &[("listeners", "PLAINTEXT://:9"), ("cordoned.log.dirs", "x")], ": [cordoned.log.dirs, listeners]");
    check(true, &[("cordoned.log.dirs", "x")], "one data directory");
    check(true, &[("listener.name.a.nope", "x")], "");
    check(false, &[("listener.name.a.nope", "x")], "specified: [listener.name.a.nope]");
    let many: Overrides = (0..=SETTINGS_MAX).map(|at| (format!("n{at}"), String::new())).collect();
    assert_eq!(check_each(&many, true), Err(InvalidChange::TooLarge));
}

#[test]
fn a_change_that_contradicts_another_setting_is_refused() {
    let base = BrokerConfig::default();
    for (settings, expected) in [
        (&[("message.max.bytes", "2000000000")][..], Some("message.max.bytes is larger than socket.request.max.bytes")),
        (&[("max.connections.per.ip", "0")], Some("would refuse every client")),
        (&[("max.connections.per.ip", "0"), ("max.connections.per.ip.overrides", "10.0.0.1:1")], None),
        (&[("log.cleaner.max.compaction.lag.ms", "20")], None),
        (
            &[("log.cleaner.max.compaction.lag.ms", "20"), ("log.cleaner.min.compaction.lag.ms", "50")],
            Some("larger than log.cleaner.max.compaction.lag.ms (20)"),
        ),
    ] {
        let changed = overrides(settings);
        for outcome in [check_effect(&base, Some(&changed), None), check_effect(&base, None, Some(&changed))] {
            match (expected, outcome) {
                (None, outcome) => assert_eq!(outcome, Ok(())),
                (Some(expected), outcome) => {
                    let error = outcome.expect_err("it is refused").to_string();
                    assert!(error.contains(expected), "{settings:?}: {error}");
                }
            }
        }
    }
}

#[test]
fn a_pool_of_threads_at_most_doubles_and_at_least_halves() {
    let threads = |count: &str| overrides(&[("background.threads", count)]);
    for (before, after, is_legal) in
        [("10", "20", true), ("10", "21", false), ("10", "5", true), ("10", "4", false), ("20", "40", true)]
    {
        let outcome = check_threads([Some(&threads(before)), None], [None, Some(&threads(after))]);
        assert_eq!(outcome.is_ok(), is_legal, "{before} to {after}");
    }
    // Without a value, Kafka's default counts.
    assert!(check_threads([None, None], [None, Some(&threads("9"))]).is_ok());
    let error = check_threads([None, None], [Some(&threads("21")), None]).unwrap_err().to_string();
    assert!(error.ends_with("background.threads=21, value should not be greater than double the current value 10"));
}

#[test]
fn a_list_starts_from_its_own_words_or_from_the_default() {
    let words = |name: &str, own: &[(&str, &str)]| words(name, &overrides(own));
    assert_eq!(words("log.cleanup.policy", &[]), Some(vec!["delete".to_owned()]));
    assert_eq!(words("log.cleanup.policy", &[("log.cleanup.policy", "")]), Some(vec![]));
    assert_eq!(words("log.cleanup.policy", &[("log.cleanup.policy", "a,b")]), Some(vec!["a".into(), "b".into()]));
    assert_eq!(words("background.threads", &[]), None);
    assert_eq!(words("nope", &[]), None);
}
