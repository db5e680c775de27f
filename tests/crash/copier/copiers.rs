//! Copier programs. Each group copies the whole input to its own output topic.

use std::time::{Duration, Instant};

use super::copied::Tag;
use crate::support::conversation::Conversation;
use crate::support::run::Program;

/// The session timeout of a copier's group membership.
pub const SESSION: Duration = Duration::from_millis(3000);
/// The timeout after which a copier's open transaction is aborted.
pub const TRANSACTION: Duration = Duration::from_millis(8000);
const REBALANCE: Duration = Duration::from_secs(15);
const SAYS_WITHIN: Duration = Duration::from_secs(90);

/// The task that all copiers of a group share.
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
    /// `incarnation` grows with each start of an id. The program itself counts up from a thousand times that.
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

    /// Starts a replacement with the same transactional id, or with another one.
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

    /// Kills it; returns the transactions that it reported as committed.
    pub fn kill(&mut self) -> Vec<Tag> {
        self.conversation.kill();
        self.committed()
    }

    /// The transactions that it reported as committed.
    fn committed(&self) -> Vec<Tag> {
        self.conversation.heard_from(0).iter().filter_map(|line| Tag::heard(line, "COMMITTED ")).collect()
    }

    pub fn check_is_alive(&mut self) {
        if let Some(status) = self.conversation.has_ended() {
            panic!("{status} unasked: {}", self.conversation.tail());
        }
    }

    /// Stops it with a signal during a transaction: after the records and before the offsets (`offsets`), or after the
    /// offsets and before the commit (`commit`).
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

    /// Resumes it in that transaction, and then lets it leave. The transaction must be refused.
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

    /// Waits until it has left; returns the transactions that it reported as committed.
    pub fn ended(mut self, within: Duration) -> Vec<Tag> {
        let began = Instant::now();
        let status = self.conversation.ended(within);
        assert!(status.success(), "{status} after {:?}: {}", began.elapsed(), self.conversation.tail());
        self.committed()
    }

    /// How often it restarted after a fatal error.
    pub fn gave_up(&self) -> usize {
        self.conversation.heard_from(0).iter().filter(|line| line.starts_with("GAVE UP ")).count()
    }
}
