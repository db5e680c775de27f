//! Growing input files, and a count of each of their lines in the output.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::support::records::PATTERN;

/// Line `n` of a file: `file:n:` and up to 180 letters.
fn line(file: usize, n: usize) -> String {
    let start = n * 7919 % 32768;
    let letters = &PATTERN[start..start + n * 37 % 180];
    format!("{file}:{n}:{}\n", std::str::from_utf8(letters).expect("letters"))
}

/// A thread that appends to its files until it is stopped.
pub struct Appender {
    files: Vec<PathBuf>,
    is_over: Arc<AtomicBool>,
    thread: JoinHandle<Vec<usize>>,
}

impl Appender {
    const TICK: Duration = Duration::from_millis(20);
    const LINES_A_TICK: usize = 5;

    /// Starts with line `lines` in files that already contain so many.
    pub fn start(files: &[PathBuf], lines: &[usize]) -> Appender {
        let is_over = Arc::new(AtomicBool::new(false));
        let (paths, is_told, mut lines) = (files.to_vec(), is_over.clone(), lines.to_vec());
        let thread = std::thread::spawn(move || {
            let open = |path| File::options().create(true).append(true).open(path).expect("a file to append to");
            let mut files: Vec<File> = paths.iter().map(open).collect();
            let mut rest = vec![String::new(); files.len()];
            loop {
                let is_last = is_told.load(Ordering::Relaxed);
                for (n, file) in files.iter_mut().enumerate() {
                    let mut text = std::mem::take(&mut rest[n]);
                    if !is_last {
                        (0..Self::LINES_A_TICK).for_each(|i| text += &line(n, lines[n] + i));
                        lines[n] += Self::LINES_A_TICK;
                        // The next tick completes the last line: a reader sees a part of it until then.
                        rest[n] = text.split_off(text.len() - 4);
                    }
                    file.write_all(text.as_bytes()).expect("appended");
                }
                if is_last {
                    return lines;
                }
                std::thread::sleep(Self::TICK);
            }
        });
        Appender { files: files.to_vec(), is_over, thread }
    }

    /// Completes the last lines and stops; returns the number of lines of each file.
    pub fn end(self) -> Vec<usize> {
        self.is_over.store(true, Ordering::Relaxed);
        let lines = self.thread.join().expect("the appender does not panic");
        for (n, path) in self.files.iter().enumerate() {
            let text = fs::read_to_string(path).expect("the file");
            assert_eq!(text.lines().count(), lines[n]);
        }
        lines
    }
}

/// The number of times that each line was seen.
#[derive(Default)]
pub struct Seen {
    times: Vec<Vec<u32>>,
}

impl Seen {
    pub fn of_files(count: usize) -> Seen {
        Seen { times: vec![Vec::new(); count] }
    }

    /// Counts a line without its line end, and returns its file and number. Panics unless it equals that line.
    pub fn take(&mut self, text: &str) -> (usize, usize) {
        let mut fields = text.split(':');
        let mut number = || fields.next().and_then(|n| n.parse::<usize>().ok());
        let (Some(file), Some(n)) = (number(), number()) else { panic!("not a line: {text:?}") };
        assert!(file < self.times.len() && format!("{text}\n") == line(file, n), "not a line as written: {text:?}");
        let times = &mut self.times[file];
        times.resize(times.len().max(n + 1), 0);
        times[n] += 1;
        (file, n)
    }

    /// The number of lines of each file up to the last one seen.
    pub fn ends(&self) -> Vec<usize> {
        self.times.iter().map(Vec::len).collect()
    }

    pub fn total(&self) -> usize {
        self.times.iter().flatten().map(|n| *n as usize).sum()
    }

    /// The number of repeats: all occurrences of a line after its first.
    pub fn repeats(&self) -> usize {
        self.times.iter().flatten().map(|n| n.saturating_sub(1) as usize).sum()
    }

    pub fn has(&self, lines: &[usize]) -> bool {
        self.times.iter().zip(lines).all(|(times, lines)| times.len() == *lines && !times.contains(&0))
    }

    /// The lines whose count differs from `wanted` of their file.
    pub fn other_than(&self, lines: &[usize], wanted: &[u32]) -> Vec<String> {
        let mut wrong = Vec::new();
        for (file, times) in self.times.iter().enumerate() {
            for n in 0..lines[file].max(times.len()) {
                let seen = times.get(n).copied().unwrap_or(0);
                if seen != wanted[file] {
                    wrong.push(format!("line {n} of file {file}: {seen} times"));
                }
            }
        }
        wrong
    }
}

/// The file that the sink appends to, read as it grows.
pub struct Sink {
    path: PathBuf,
    position: u64,
    part: Vec<u8>,
    pub seen: Seen,
}

impl Sink {
    pub fn new(path: &Path, files: usize) -> Sink {
        Sink { path: path.to_path_buf(), position: 0, part: Vec::new(), seen: Seen::of_files(files) }
    }

    pub fn read(&mut self) -> &Seen {
        let Ok(mut file) = File::open(&self.path) else { return &self.seen };
        file.seek(SeekFrom::Start(self.position)).expect("a file");
        self.position += file.read_to_end(&mut self.part).expect("a file") as u64;
        let whole = self.part.iter().rposition(|&b| b == b'\n').map_or(0, |at| at + 1);
        let rest = self.part.split_off(whole);
        let lines = std::mem::replace(&mut self.part, rest);
        String::from_utf8(lines).expect("letters").lines().for_each(|line| {
            self.seen.take(line);
        });
        &self.seen
    }
}
