//! Comments and test names name their subject and use the field's verbs.
//!
//! Backticked and quoted text is not checked. A line that must use such a word carries `tidy: words` and the reason.

use crate::tree::{Source, functions, tree};
use crate::{Violation, check};

const ALLOWANCE: &str = "tidy: words";

/// Words and phrases that stand in for a subject or a verb, and their replacements.
const WORDS: &[(&str, &str)] = &[
    ("who", SUBJECT),
    ("whoever", SUBJECT),
    ("whom", SUBJECT),
    ("nobody", "name what does not: no client, no reader, no task"),
    ("somebody", SUBJECT),
    ("everybody", "name them: all members, all readers"),
    ("anybody", SUBJECT),
    ("someone", SUBJECT),
    ("everyone", "name them: all members, all readers"),
    ("anyone", SUBJECT),
    ("whatever", "name it: any error, every input"),
    ("told", VERB),
    ("tell", VERB),
    ("tells", VERB),
    ("says", VERB),
    ("said", VERB),
    ("is asked", REQUEST),
    ("are asked", REQUEST),
    ("was asked", REQUEST),
    ("were asked", REQUEST),
    ("be asked", REQUEST),
    ("what", NOUN),
    ("comes to", "write the result: returns, equals, adds up to"),
    ("come to", "write the result: return, equal, add up to"),
    ("one that", "repeat the noun"),
    ("on its way", "write the step: in flight, being written, queued"),
    ("at all", "leave it out"),
    ("made for", "write the purpose: serves, stores, runs"),
    ("goes on", "write: continues"),
    ("go on", "write: continue"),
    ("is there", "write the state: exists, is present, is readable"),
    ("are there", "write the state: exist, are present, are readable"),
    ("has yet to", "write: has not ... yet"),
    ("but for", "write: except for"),
];
/// Words that begin a fragment or an inversion when a sentence begins with them.
const OPENERS: [&str; 4] = ["of", "where", "which", "whose"];
const SUBJECT: &str = "name the subject: the follower, the caller, the member";
const VERB: &str = "use the field's verb: returns, reports, names, logs, states";
const REQUEST: &str = "write the request: requested, queried, the caller reads";
const NOUN: &str = "name the thing: the records, the value, the bytes";
const OPENER: &str = "begin the sentence with its subject";
/// Stands for the start of a sentence among the words.
const START: &str = ".";

/// The text without its quoted and backticked parts.
fn unquoted(text: &str) -> String {
    let mut open = None;
    let mut kept = String::new();
    for (at, c) in text.char_indices() {
        match open {
            None if matches!(c, '`' | '"') && text[at + 1..].contains(c) => open = Some(c),
            None => kept.push(c),
            // A pause: words on both sides are no phrase.
            Some(quote) if quote == c => {
                open = None;
                kept.push('|');
            }
            Some(_) => {}
        }
    }
    kept
}

/// Lower-case words with their lines. An empty word is a pause, and [`START`] precedes the first word of a sentence.
fn words_of(text: &str, line: usize, words: &mut Vec<(usize, String)>) {
    let mut word = String::new();
    for c in text.chars().chain([' ']) {
        if c.is_alphanumeric() || c == '\'' {
            word.extend(c.to_lowercase());
            continue;
        }
        if !word.is_empty() {
            words.push((line, std::mem::take(&mut word)));
        }
        match c {
            '.' | '?' | '!' => words.push((line, START.to_owned())),
            c if c.is_whitespace() => {}
            _ => words.push((line, String::new())),
        }
    }
}

/// The listed phrases among the words, with their lines.
fn phrases(words: &[(usize, String)]) -> Vec<(usize, &'static str, &'static str)> {
    let mut found = Vec::new();
    for at in 0..words.len() {
        for (phrase, instead) in WORDS {
            let mut parts = phrase.split(' ').enumerate();
            if parts.all(|(n, part)| words.get(at + n).is_some_and(|(_, word)| word == part)) {
                found.push((words[at].0, *phrase, *instead));
            }
        }
        let is_first = at > 0 && words[at - 1].1 == START;
        if let Some(opener) = OPENERS.iter().find(|opener| is_first && words[at].1 == **opener) {
            found.push((words[at].0, *opener, OPENER));
        }
    }
    found
}

fn in_comments(sources: &[Source]) -> Vec<Violation> {
    let mut found = Vec::new();
    for source in sources {
        let mut words = Vec::new();
        let mut last = None;
        for comment in &source.lexed.comments {
            if last != Some(comment.line - 1) {
                words.push((comment.line, START.to_owned()));
            }
            last = Some(comment.line);
            if !comment.text.contains(ALLOWANCE) {
                words_of(&unquoted(&comment.text), comment.line, &mut words);
            }
        }
        let violation =
            |(line, phrase, instead)| Violation::new(&source.path, line, format!("\"{phrase}\": {instead}"));
        found.extend(phrases(&words).into_iter().map(violation));
    }
    found
}

fn in_test_names(sources: &[Source]) -> Vec<Violation> {
    let mut found = Vec::new();
    for source in sources {
        for test in functions(source).iter().filter(|function| function.is_test) {
            let mut words = Vec::new();
            words_of(&test.name.replace('_', " "), test.lines.0, &mut words);
            for (line, phrase, instead) in phrases(&words) {
                found.push(Violation::new(&source.path, line, format!("\"{phrase}\" in `{}`: {instead}", test.name)));
            }
        }
    }
    found
}

#[test]
fn comments_name_their_subject() {
    check("words in comments", &in_comments(tree()));
}

#[test]
fn test_names_are_claims_about_a_named_subject() {
    check("words in test names", &in_test_names(tree()));
}

#[test]
fn a_stand_in_is_a_violation() {
    let found = |text: &str| {
        let found = in_comments(&[Source::new("src/a.rs", text)]);
        found.into_iter().map(|v| (v.line, v.what.split('"').nth(1).unwrap().to_owned())).collect::<Vec<_>>()
    };
    assert_eq!(found("let a = \"who\"; // Whoever waits.\n"), [(1, "whoever".to_owned())]);
    assert_eq!(found("/// The task was\n/// asked.\n"), [(1, "was asked".to_owned())]);
    assert_eq!(
        found("//! `who` and \"nobody\" are quoted; whole whose. Was, asked\n\n// was\nfn a() {}\n// asked\n"),
        []
    );
    assert_eq!(
        found("/// Of Produce. Where\n/// it is, of course.\n"),
        [(1, "of".to_owned()), (1, "where".to_owned())]
    );
    assert_eq!(found("// The member that everybody knows. (tidy: words, because)\n"), []);
}

#[test]
fn a_stand_in_in_a_test_name_is_a_violation() {
    let source = Source::new("src/a.rs", "#[test]\nfn what_is_left_is_told() {}\n\nfn who_is_no_test() {}\n");
    let found = in_test_names(&[source]);
    assert_eq!(found.iter().map(|v| v.line).collect::<Vec<_>>(), [2, 2]);
}
