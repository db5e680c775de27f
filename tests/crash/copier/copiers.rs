//! Copier programs in groups of their own, each copying the whole input to its own output.

use std::time::{Duration, Instant};

use super::copied::Tag;
use crate::support::conversation::Conversation;
use crate::support::run::Program;

/// Beyond it a silent copier is out of its group.
pub const SESSION: Duration = Duration::from_millis(3000);
/// Beyond it its open transaction is aborted.
pub const TRANSACTION: Duration = Duration::from_millis(8000);
const REBALANCE: Duration = Duration::from_secs(15);
const SAYS_WITHIN: Duration = Duration::from_secs(90);

/// What all copiers of a group have in common.
#[derive(Clone)]
pub struct Errand {
    pub bootstrap: String,
    pub input: String,
    pub output: String,
    pub group: String,
    pub partitions: i32,
}

pub struct Copier {
    program: Program,
    pub id: String,
    incarnation: u64,
    conversation: Conversation,
}

impl Copier {
    /// `incarnation` grows with every start of an id. The program counts on from a thousand times that by itself.
    pub fn start(errand: &Errand, program: &Program, id: &str, incarnation: u64) -> Copier {
        let ms = |duration: Duration| duration.as_millis().to_string();
        let arguments = [
            ("bootstrap", errand.bootstrap.clone()),
            ("input", errand.input.clone()),
            ("output", errand.output.clone()),
            ("group", errand.group.clone()),
            ("partitions", errand.partitions.to_string()),
            ("id", id.to_string()),
            ("incarnation", (incarnation * 1000).to_string()),
            ("session", ms(SESSION)),
            ("rebalance", ms(REBALANCE)),
            ("transaction", ms(TRANSACTION)),
        ];
        let conversation = Conversation::start(program, &format!("{id}/{incarnation}"), "copier", &arguments);
        Copier { program: program.clone(), id: id.into(), incarnation, conversation }
    }

    /// Another in its place, of the same id or, as one that does not know of the first, of another.
    pub fn successor(&self, errand: &Errand, has_same_id: bool) -> Copier {
        let incarnation = self.incarnation + 1;
        if has_same_id {
            return Copier::start(errand, &self.program, &self.id, incarnation);
        }
        let stem = self.id.split('+').next().expect("split gives one at least");
        Copier::start(errand, &self.program, &format!("{stem}+{incarnation}"), incarnation)
    }

    pub fn name(&self) -> &str {
        &self.conversation.name
    }

    /// Kills it; the transactions that it said were committed.
    pub fn kill(&mut self) -> Vec<Tag> {
        self.conversation.kill();
        self.committed()
    }

    /// The transactions that it has said were committed.
    fn committed(&self) -> Vec<Tag> {
        self.conversation.heard_from(0).iter().filter_map(|line| Tag::heard(line, "COMMITTED ")).collect()
    }

    pub fn check_is_alive(&mut self) {
        if let Some(status) = self.conversation.has_ended() {
            panic!("{status} unasked: {}", self.conversation.tail());
        }
    }

    /// Stops it, by a signal, in the middle of a transaction: when all of it is written and its offsets are not
    /// (`offsets`), or they are too and all but the commit is done (`commit`).
    pub fn ask_to_halt(&mut self, place: &str) -> usize {
        let from = self.conversation.heard_count();
        self.conversation.tell(&format!("halt {place}"));
        from
    }

    pub fn stop_when_halted(&mut self, from: usize) -> Tag {
        let tag = self
            .conversation
            .wait_for(from, "a transaction to halt in", SAYS_WITHIN, |line| Tag::heard(line, "HALTED "));
        self.conversation.signal("STOP");
        tag
    }

    /// Lets it go on in that transaction, and then leave. It must be refused.
    pub fn resume(&mut self, halted: &Tag) -> String {
        self.conversation.signal("CONT");
        self.conversation.tell("go on");
        self.conversation.tell("end");
        let refused = |line: &str| (Tag::heard(line, "REFUSED ").as_ref() == Some(halted)).then(|| line.to_string());
        let committed = |line: &str| (Tag::heard(line, "COMMITTED ").as_ref() == Some(halted)).then(String::new);
        let line = self
            .conversation
            .wait_for(0, "what became of a zombie", SAYS_WITHIN, |line| refused(line).or_else(|| committed(line)));
        assert!(!line.is_empty(), "{halted} was committed by a zombie: {}", self.conversation.tail());
        line
    }

    pub fn ask_to_end(&mut self) {
        self.conversation.tell("end");
    }

    /// Waits until it has left; the transactions that it said were committed.
    pub fn ended(mut self, within: Duration) -> Vec<Tag> {
        let began = Instant::now();
        let status = self.conversation.ended(within);
        assert!(status.success(), "{status} after {:?}: {}", began.elapsed(), self.conversation.tail());
        self.committed()
    }

    /// How often it met a fatal error and began anew.
    pub fn gave_up(&self) -> usize {
        self.conversation.heard_from(0).iter().filter(|line| line.starts_with("GAVE UP ")).count()
    }
}
