//! Comments and test names name their subject and use the field's verbs.
//!
//! Backticked and quoted text is not checked. A line that must use such a word carries `tidy: words` and the reason.

use crate::tree::{Source, functions, tree};
use crate::{Violation, check};

const ALLOWANCE: &str = "tidy: words";

/// Words and phrases that stand in for a subject or a verb, and what replaces them.
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
    ("what is", NOUN),
    ("what are", NOUN),
    ("what was", NOUN),
    ("what were", NOUN),
    ("what has", NOUN),
    ("what had", NOUN),
    ("what comes", NOUN),
    ("what came", NOUN),
    ("what it", NOUN),
    ("comes to", "write the result: returns, equals, adds up to"),
    ("come to", "write the result: return, equal, add up to"),
    ("one that", "repeat the noun"),
    ("on its way", "write the step: in flight, being written, queued"),
    ("at all", "leave it out"),
    ("made for", "write the purpose: serves, stores, runs"),
];
const SUBJECT: &str = "name the subject: the follower, the caller, the member";
const VERB: &str = "use the field's verb: returns, reports, names, logs, states";
const REQUEST: &str = "write the request: requested, queried, the caller reads";
const NOUN: &str = "name the thing: the records, the value, the bytes";

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

/// Lower-case words with their lines; an empty word is a pause.
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
        if !c.is_whitespace() {
            words.push((line, String::new()));
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
    }
    found
}

fn in_comments(sources: &[Source]) -> Vec<Violation> {
    let mut found = Vec::new();
    for source in sources {
        let mut words = Vec::new();
        let mut last = 0;
        for comment in &source.lexed.comments {
            if comment.line != last + 1 {
                words.push((comment.line, String::new()));
            }
            last = comment.line;
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
    assert_eq!(found("/// The task, what\n/// is left.\n"), [(1, "what is".to_owned())]);
    assert_eq!(found("//! `who` and \"nobody\" are quoted; whole whose. What, is\n\n// what\nfn a() {}\n// is\n"), []);
    assert_eq!(found("// The member that everybody knows. (tidy: words, because)\n"), []);
}

#[test]
fn a_stand_in_in_a_test_name_is_a_violation() {
    let source = Source::new("src/a.rs", "#[test]\nfn what_is_left_is_told() {}\n\nfn who_is_no_test() {}\n");
    let found = in_test_names(&[source]);
    assert_eq!(found.iter().map(|v| v.line).collect::<Vec<_>>(), [2, 2]);
}
