//! Runs a test that measures its process in a child process: the test binary starts itself again with that test alone.

use std::process::Command;

use super::turn;

/// Names the test that a child process runs; set in children only.
const CHILD: &str = "TIDEMILL_TEST_OWN_PROCESS";

/// Runs `body` on the only thread of a child process, and fails with the child's output when the child fails.
///
/// `module` is the caller's `module_path!()`, `test` the name of the test function. One such child runs at a time.
pub fn run(module: &'static str, test: &'static str, body: impl FnOnce()) {
    let (_, module) = module.split_once("::").expect("a module below the root of the test binary");
    let name = format!("{module}::{test}");
    if std::env::var(CHILD).is_ok_and(|child| child == name) {
        return body();
    }
    let _turn = turn::of(test);
    let mut child = Command::new(std::env::current_exe().expect("the path of this binary"));
    child.args(["--exact", &name, "--nocapture", "--test-threads=1"]).env(CHILD, &name);
    let output = child.output().expect("this binary starts again");
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    println!("{stdout}{stderr}");
    assert!(output.status.success(), "{name}: {}", output.status);
    assert!(stdout.contains("1 passed"), "{name} is not the name of a test");
}
