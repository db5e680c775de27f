//! Java's properties format, in which Kafka's `server.properties` is written (`java.util.Properties`).
//!
//! ```text
//! # comment          ! comment          name=value     name: value     name value
//! a name or a value may have \t \n \r \f \uXXXX, and \ before any other character stands for that character
//! a line that ends with an odd number of backslashes continues in the next one, without its leading spaces
//! ```

/// One property.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Property {
    /// The first line, from 1.
    pub line: usize,
    /// The name, without escapes.
    pub name: String,
    /// The value, without escapes. Trailing spaces belong to it.
    pub value: String,
}

/// A `\u` without four hexadecimal digits.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("'\\u' is not followed by four hexadecimal digits")]
pub struct BadEscape {
    /// The first line of the property, from 1.
    pub line: usize,
}

/// The properties of the text in their order. A repeated name appears twice; in Java the last one counts.
pub fn parse(text: &str) -> Result<Vec<Property>, BadEscape> {
    let mut found = Vec::new();
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let mut lines = text.split('\n').enumerate();
    while let Some((at, line)) = lines.next() {
        let line = line.trim_start_matches(is_space);
        if line.is_empty() || line.starts_with(['#', '!']) {
            continue;
        }
        let mut whole = line.to_owned();
        while is_continued(&whole) {
            whole.pop();
            let Some((_, next)) = lines.next() else { break };
            whole.push_str(next.trim_start_matches(is_space));
        }
        let (name, value) = split(&whole);
        let unescaped = |text| unescape(text).ok_or(BadEscape { line: at + 1 });
        found.push(Property { line: at + 1, name: unescaped(name)?, value: unescaped(value)? });
    }
    Ok(found)
}

/// Whether the text is more likely properties than TOML: it has assignments, and no line is a TOML table's header.
pub fn looks_like_properties(text: &str) -> bool {
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with(['#', '!']));
    lines.clone().any(|line| line.contains('=')) && !lines.any(|line| line.starts_with('['))
}

fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\x0c')
}

fn is_continued(line: &str) -> bool {
    line.bytes().rev().take_while(|c| *c == b'\\').count() % 2 == 1
}

/// The name and the value, with their escapes. The name ends before the first `=`, `:` or space without a backslash.
fn split(line: &str) -> (&str, &str) {
    let mut is_escaped = false;
    let end = line.find(|c: char| {
        let ends = !is_escaped && (is_space(c) || c == '=' || c == ':');
        is_escaped = c == '\\' && !is_escaped;
        ends
    });
    let (name, rest) = line.split_at(end.unwrap_or(line.len()));
    let rest = rest.trim_start_matches(is_space);
    let value = rest.strip_prefix(['=', ':']).unwrap_or(rest);
    (name, value.trim_start_matches(is_space))
}

fn unescape(text: &str) -> Option<String> {
    let mut plain = String::with_capacity(text.len());
    // Java's characters are UTF-16 units, so an escape can be half of a character.
    let mut units: Vec<u16> = Vec::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        let c = match c {
            '\\' => match chars.next() {
                Some('u') => {
                    let digits: String = chars.by_ref().take(4).collect();
                    let is_hex = digits.len() == 4 && digits.bytes().all(|c| c.is_ascii_hexdigit());
                    units.push(is_hex.then(|| u16::from_str_radix(&digits, 16).ok()).flatten()?);
                    continue;
                }
                Some('t') => '\t',
                Some('n') => '\n',
                Some('r') => '\r',
                Some('f') => '\x0c',
                Some(other) => other,
                None => break,
            },
            c => c,
        };
        plain.push_str(&String::from_utf16_lossy(&units));
        units.clear();
        plain.push(c);
    }
    plain.push_str(&String::from_utf16_lossy(&units));
    Some(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &[(usize, &str, &str)]) {
        let found = parse(text).unwrap_or_else(|error| panic!("{text:?}: {error}"));
        let found: Vec<_> = found.iter().map(|p| (p.line, p.name.as_str(), p.value.as_str())).collect();
        assert_eq!(found, expected, "{text:?}");
    }

    #[test]
    fn properties_read_as_in_java() {
        check("", &[]);
        check("# a=1\n  ! b=2\n\n \t\x0c\n", &[]);
        check(
            "a=1\nb:2\nc 3\nd\t=\t4\n  e  :  5",
            &[(1, "a", "1"), (2, "b", "2"), (3, "c", "3"), (4, "d", "4"), (5, "e", "5")],
        );
        check("a = b = c", &[(1, "a", "b = c")]);
        check("a==b", &[(1, "a", "=b")]);
        check("a", &[(1, "a", "")]);
        check("a=\nb", &[(1, "a", ""), (2, "b", "")]);
        check("a=1\r\nb=2\rc=3", &[(1, "a", "1"), (2, "b", "2"), (3, "c", "3")]);
        check("a=trailing  ", &[(1, "a", "trailing  ")]);
        check("a=1 # no comment", &[(1, "a", "1 # no comment")]);
        check("listeners=PLAINTEXT://:9092", &[(1, "listeners", "PLAINTEXT://:9092")]);
    }

    #[test]
    fn a_backslash_continues_a_line_or_escapes_a_character() {
        check("a=1,\\\n   2,\\\n\t3\nb=4", &[(1, "a", "1,2,3"), (4, "b", "4")]);
        check("a=1\\\\\nb=2", &[(1, "a", "1\\"), (2, "b", "2")]);
        check("a=1\\", &[(1, "a", "1")]);
        check("a=\\\n#2", &[(1, "a", "#2")]);
        check("# c\\\na=1", &[(2, "a", "1")]);
        check("a\\=b\\:c\\ d=e", &[(1, "a=b:c d", "e")]);
        check("a=\\t\\n\\r\\f\\q\\u0041\\u00e9", &[(1, "a", "\t\n\r\x0cqA\u{e9}")]);
        check("a=\\ud83c\\udf0a!", &[(1, "a", "\u{1f30a}!")]);
        for text in ["a=\\u12", "a=\\u12g4", "\n\na=\\u+123"] {
            assert_eq!(parse(text), Err(BadEscape { line: text.lines().count() }), "{text:?}");
        }
    }

    #[test]
    fn a_table_header_excludes_properties() {
        assert!(looks_like_properties("# x\nlisteners=PLAINTEXT://:9092\n"));
        assert!(!looks_like_properties("[log]\nretention.ms = = 1"));
        assert!(!looks_like_properties("nonsense"));
    }
}
