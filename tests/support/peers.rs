//! Installs a peer (a client program or Kafka) into `target/peers/` when a test first needs it.
//!
//! The directory's name contains a hash of the peer's versions and sources. The file `.complete` marks a finished
//! installation, so a later run reuses it only when it would make the same one. A lock file per peer keeps two
//! processes or threads from installing it at the same time.

use std::collections::HashMap;
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{LazyLock, Mutex};
use std::time::{Duration, Instant};

use super::run::{Program, is_found, run};
use super::{say, scratch, skip};

const INSTALL_WITHIN: Duration = Duration::from_secs(400);
/// A package registry may fail for a moment; after three attempts the referee is missing.
const TRIES: u32 = 3;

fn sources(of: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(of)
}

/// Names and contents of a source directory, sorted.
fn contents(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let mut all: Vec<_> = fs::read_dir(dir)
        .unwrap_or_else(|e| panic!("{}: {e}", dir.display()))
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.is_file())
        .map(|path| {
            let name = path.file_name().expect("a file has a name").to_string_lossy().into_owned();
            (name, fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display())))
        })
        .collect();
    all.sort();
    all
}

/// Creates `target/peers/<name>-<hash of inputs>` unless it exists. `None`, and a SKIP line, when that fails.
fn install(name: &'static str, inputs: impl Hash, make: impl Fn(&Path) -> Result<(), String>) -> Option<PathBuf> {
    /// Results of this process: the installation of a missing peer is tried once, and every test skips it.
    static KNOWN: LazyLock<Mutex<HashMap<&'static str, Result<PathBuf, String>>>> = LazyLock::new(Mutex::default);

    let mut hasher = DefaultHasher::new();
    inputs.hash(&mut hasher);
    let root = scratch::target().join("peers");
    fs::create_dir_all(&root).expect("target/ can be written");
    let lock = File::create(root.join(format!(".{name}.lock"))).expect("a lock file");
    lock.lock().expect("a lock");
    let known = KNOWN.lock().expect("no panic while locked").get(name).cloned();
    let outcome = known.unwrap_or_else(|| {
        let dir = root.join(format!("{name}-{:016x}", hasher.finish()));
        let outcome = make_once(name, &dir, make);
        KNOWN.lock().expect("no panic while locked").insert(name, outcome.clone());
        outcome
    });
    match outcome {
        Ok(dir) => Some(dir),
        Err(why) => {
            skip(name, &why);
            None
        }
    }
}

fn make_once(name: &str, dir: &Path, make: impl Fn(&Path) -> Result<(), String>) -> Result<PathBuf, String> {
    let complete = dir.join(".complete");
    if complete.is_file() {
        return Ok(dir.to_path_buf());
    }
    let started = Instant::now();
    say(&format!("installing {name}"));
    let mut outcome = Ok(());
    for attempt in 1..=TRIES {
        let _ = fs::remove_dir_all(dir);
        fs::create_dir_all(dir).map_err(|e| format!("{}: {e}", dir.display()))?;
        outcome = make(dir);
        let Err(why) = &outcome else { break };
        say(&format!("installing {name}: attempt {attempt} of {TRIES} failed: {why}"));
    }
    outcome?;
    fs::write(&complete, "").map_err(|e| format!("{}: {e}", complete.display()))?;
    say(&format!("installed {name} in {:.1?}", started.elapsed()));
    Ok(dir.to_path_buf())
}

/// Runs an installation command; the error states why it failed.
fn step(command: Command) -> Result<(), String> {
    let program = command.get_program().to_string_lossy().into_owned();
    if !program.contains('/') && !is_found(&program) {
        return Err(format!("there is no {program} on the search path"));
    }
    let answered = format!("{command:?}");
    let ended = run(command, None, INSTALL_WITHIN, |_| false).map_err(|e| format!("{answered}: {e}"))?;
    if ended.ok() { Ok(()) } else { Err(format!("{answered}: {}", ended.tail())) }
}

fn command(program: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments);
    command
}

fn text(path: &Path) -> String {
    path.to_str().expect("the work tree's path is UTF-8").to_string()
}

/// The jars that `tests/clients/<from>/pom.xml` names, as a class path.
fn jars(name: &'static str, from: &str) -> Option<String> {
    let pom = sources(from).join("pom.xml");
    let dir = install(name, fs::read(&pom).expect("the pom is in the tree"), |dir| {
        let out = format!("-DoutputDirectory={}", text(&dir.join("libs")));
        fs::copy(&pom, dir.join("pom.xml")).map_err(|e| e.to_string())?;
        step(command("mvn", &["-q", "-B", "-f", &text(&dir.join("pom.xml")), "dependency:copy-dependencies", &out]))?;
        step(command("java", &["-version"]))
    })?;
    Some(format!("{}/libs/*", text(&dir)))
}

/// The jars of Apache Kafka: broker, tools, clients and their codecs, as a class path.
pub fn kafka_jars() -> Option<String> {
    jars("kafka-jars", "java")
}

/// The jars of Kafka Connect, its file connectors and MirrorMaker 2, as a class path.
pub fn connect_jars() -> Option<String> {
    jars("connect-jars", "connect")
}

/// The classes of `tests/clients/<from>`, as a class path followed by `jars`.
fn classes(name: &'static str, from: &str, jars: &str) -> Option<String> {
    let from = sources(from);
    let classes = install(name, (contents(&from), jars), |dir| {
        let mut javac = command("javac", &["-d", &text(dir), "-cp", jars]);
        javac.args(contents(&from).iter().filter(|(name, _)| name.ends_with(".java")).map(|(name, _)| from.join(name)));
        step(javac)
    })?;
    Some(format!("{}:{jars}", text(&classes)))
}

/// kafka-clients 4.4: tests/clients/java.
pub fn java() -> Option<Program> {
    let class_path = classes("java-client", "java", &kafka_jars()?)?;
    let log = "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn";
    let argv = ["java", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", log, "-cp", &class_path, "Client"];
    Some(Program { name: "java", argv: argv.map(str::to_string).to_vec(), env: vec![] })
}

/// Kafka Streams 4.4: tests/clients/streams. Its log has timestamps.
pub fn streams() -> Option<Program> {
    let class_path = classes("streams", "streams", &jars("streams-jars", "streams")?)?;
    let log = ["showDateTime=true", "dateTimeFormat=HH:mm:ss.SSS"].map(|p| format!("-Dorg.slf4j.simpleLogger.{p}"));
    let mut argv = ["java", "-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"].map(str::to_string).to_vec();
    argv.extend(log);
    argv.extend(["-cp", &class_path, "Streams"].map(str::to_string));
    Some(Program { name: "streams", argv, env: vec![] })
}

fn python(name: &'static str, program: &str) -> Option<Program> {
    let from = sources("python");
    let requirements = from.join("requirements.txt");
    let venv = install("python", fs::read(&requirements).expect("the requirements are in the tree"), |dir| {
        step(command("python3", &["-m", "venv", &text(dir)]))?;
        let pip = text(&dir.join("bin/pip"));
        step(command(&pip, &["install", "--quiet", "--only-binary=:all:", "-r", &text(&requirements)]))
    })?;
    let argv = vec![text(&venv.join("bin/python")), text(&from.join(program))];
    Some(Program { name, argv, env: vec![("PYTHONDONTWRITEBYTECODE".into(), "1".into())] })
}

/// confluent-kafka: tests/clients/python/librdkafka.py.
pub fn librdkafka() -> Option<Program> {
    python("librdkafka", "librdkafka.py")
}

/// kafka-python: tests/clients/python/pure_python.py.
pub fn kafka_python() -> Option<Program> {
    python("kafka-python", "pure_python.py")
}

/// franz-go: tests/clients/go.
pub fn franz_go() -> Option<Program> {
    let from = sources("go");
    let dir = install("franz-go", contents(&from), |dir| {
        let mut go = command("go", &["build", "-mod=readonly", "-o", &text(&dir.join("client")), "."]);
        go.current_dir(&from);
        step(go)
    })?;
    Some(Program { name: "franz-go", argv: vec![text(&dir.join("client"))], env: vec![] })
}

/// KafkaJS: tests/clients/javascript.
pub fn kafkajs() -> Option<Program> {
    let from = sources("javascript");
    let files = contents(&from);
    let dir = install("kafkajs", &files, |dir| {
        for (name, content) in &files {
            fs::write(dir.join(name), content).map_err(|e| e.to_string())?;
        }
        step(command("npm", &["install", "--prefix", &text(dir), "--no-audit", "--no-fund", "--loglevel=error"]))?;
        step(command("node", &["--version"]))
    })?;
    let argv = vec!["node".into(), text(&dir.join("client.js"))];
    Some(Program { name: "kafkajs", argv, env: vec![("KAFKAJS_NO_PARTITIONER_WARNING".into(), "1".into())] })
}

/// Prometheus and its promtool, from Debian's package, which is unpacked and not installed. Returns their directory.
pub fn prometheus() -> Option<PathBuf> {
    let dir = install("prometheus", "debian", |dir| {
        let mut download = command("apt-get", &["-q", "download", "prometheus"]);
        download.current_dir(dir);
        if step(download).is_err() {
            step(command("apt-get", &["-q", "update"]))?;
            let mut download = command("apt-get", &["-q", "download", "prometheus"]);
            download.current_dir(dir);
            step(download)?;
        }
        let is_package = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "deb");
        let files = fs::read_dir(dir).map_err(|e| e.to_string())?;
        let package = files.filter_map(|file| Some(file.ok()?.path())).find(is_package);
        let package = package.ok_or("apt-get has downloaded no package")?;
        step(command("dpkg-deb", &["-x", &text(&package), &text(dir)]))?;
        fs::remove_file(package).map_err(|e| e.to_string())?;
        step(command(&text(&dir.join("usr/bin/promtool")), &["--version"]))
    })?;
    Some(dir.join("usr/bin"))
}

/// kcat, from Debian: the only peer that is installed system-wide.
pub fn kcat() -> Option<String> {
    install("kcat", "debian", |_| {
        if is_found("kcat") {
            return Ok(());
        }
        let apt = |arguments: &[&str]| {
            let mut apt = command("apt-get", &["-q", "-y", "-o", "DPkg::Lock::Timeout=300"]);
            apt.args(arguments).env("DEBIAN_FRONTEND", "noninteractive");
            step(apt)
        };
        apt(&["update"])?;
        apt(&["install", "kcat"])
    })?;
    // target/ may be older than this machine.
    if is_found("kcat") {
        return Some("kcat".into());
    }
    let _ = fs::remove_dir_all(scratch::target().join("peers").join("kcat"));
    skip("kcat", "it was installed once, and is not on the search path now");
    None
}
