//! The options on the command line, and their names in messages.

use super::*;

#[derive(clap::Parser)]
struct Cli {
    #[command(flatten)]
    args: Args,
}

fn loaded(words: &[&str]) -> Result<Loaded, Failure> {
    let words = ["serve"].iter().chain(words);
    load(&<Cli as clap::Parser>::try_parse_from(words).unwrap_or_else(|error| panic!("{error}")).args, &[])
}

#[test]
fn an_option_is_named_as_it_was_given() {
    for (words, expected) in [
        (&["--listen", "localhost"][..], "--listen localhost: expected HOST:PORT, such as localhost:9092"),
        (&["--listen", "a:99999"], "--listen a:99999: '99999' is not a port number, 1..65535"),
        (&["--listen", "PLAINTEXT://a:1"], "write --listen a:1"),
        (
            &["--listen", "127.0.0.1:65535"],
            "--listen 127.0.0.1:65535: listeners: PLAINTEXT://127.0.0.1:65535 leaves no room for 1 port",
        ),
        (&["--listen", "0.0.0.0:9092"], "--set advertised.listeners=PLAINTEXT://<host>:9092"),
        (&["--shards", "0"], "--shards 0: Invalid value 0 for configuration shards"),
        (&["--data", "x,y"], "--data x,y: log.dirs: several data directories"),
        (&["--data", "a", "--set", "log.dirs=b"], "--data a and --set log.dirs=b contradict each other"),
        (&["--data", "a", "--set", "log.dir=b"], "--data a and --set log.dir=b contradict each other"),
        (&["--shards", "1", "--set", "shards=2"], "contradict each other"),
    ] {
        let failure = loaded(words).expect_err("it is refused").to_string();
        assert!(failure.contains(expected), "{words:?}: {failure}");
    }
    let config = loaded(&["--data", "a", "--set", "log.dirs=a", "--listen", "a:1"]).expect("it is legal").config;
    assert_eq!((config.data_dirs.as_str(), config.listeners), ("a", vec!["PLAINTEXT://a:1".to_owned()]));
}
