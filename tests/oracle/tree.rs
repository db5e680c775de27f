//! A response as a flat map from paths to values, so that a difference prints as one field.
//!
//! Any value with `Debug` becomes a tree by its pretty print. Array elements with a key (a topic's name, a partition's
//! index) are matched by the key and not by position, so that one missing element is one difference. The order of the
//! elements is a path of its own, `topics.order`.

use std::collections::BTreeMap;
use std::fmt::Debug;

use serde_json::{Map, Value};

/// From `topics[name=a].partitions[0].error_code` to its value as text.
pub type Paths = BTreeMap<String, String>;

/// The key fields of array elements; the first present one counts.
const IDENTITIES: &[&str] = &[
    "resource_name",
    "name",
    "topic",
    "api_key",
    "partition",
    "partition_index",
    "node_id",
    "broker_id",
    "topic_id",
    "group_id",
    "member_id",
    "transactional_id",
    "producer_id",
];
/// The value of a path to an element; its fields have paths of their own.
const THERE: &str = "there";
/// The last part of the path to an array's order.
pub const ORDER: &str = ".order";

pub fn tree(what: &impl Debug) -> Value {
    let text = format!("{what:#?}");
    let mut lines = text.lines().map(str::trim_start);
    let first = lines.next().expect("some text");
    value(first, &mut lines)
}

/// `first` is the line in which the value starts, without the field's name.
fn value<'a>(first: &'a str, lines: &mut impl Iterator<Item = &'a str>) -> Value {
    let first = first.strip_suffix(',').unwrap_or(first);
    let closes = |line: &str| matches!(line.trim_end_matches(','), "}" | "]" | ")");
    match first.as_bytes()[first.len() - 1] {
        _ if first.starts_with('"') => Value::from(&first[1..first.len() - 1]),
        b'{' => {
            let mut fields = Map::new();
            while let Some(line) = lines.next().filter(|line| !closes(line)) {
                let (name, rest) = line.split_once(": ").expect("a field");
                fields.insert(name.into(), value(rest, lines));
            }
            Value::Object(fields)
        }
        // Some(..) and other wrappers become their contents; a tuple is a list.
        open @ (b'[' | b'(') => {
            let mut elements = Vec::new();
            while let Some(line) = lines.next().filter(|line| !closes(line)) {
                elements.push(value(line, lines));
            }
            if open == b'(' && elements.len() == 1 { elements.remove(0) } else { Value::Array(elements) }
        }
        _ if first == "[]" => Value::Array(Vec::new()),
        _ => first.parse::<i64>().map_or_else(|_| Value::from(first), Value::from),
    }
}

/// The values by their paths; `text` maps a value with all others as context.
pub fn flatten(tree: &Value, text: &impl Fn(&Value) -> String) -> Paths {
    let mut paths = Paths::new();
    walk("", tree, text, &mut paths);
    paths
}

fn walk(path: &str, tree: &Value, text: &impl Fn(&Value) -> String, paths: &mut Paths) {
    match tree {
        Value::Object(fields) => {
            let dot = if path.is_empty() { "" } else { "." };
            for (name, field) in fields {
                walk(&format!("{path}{dot}{name}"), field, text, paths);
            }
        }
        Value::Array(elements) => {
            let mut names: Vec<String> = Vec::new();
            for (i, element) in elements.iter().enumerate() {
                let mut name = identity(element, text).unwrap_or_else(|| i.to_string());
                while names.contains(&name) {
                    name.push_str(" again");
                }
                let element_path = format!("{path}[{name}]");
                if element.is_object() {
                    paths.insert(element_path.clone(), THERE.into());
                }
                walk(&element_path, element, text, paths);
                names.push(name);
            }
            paths.insert(format!("{path}{ORDER}"), names.join("|"));
        }
        scalar => {
            paths.insert(path.to_string(), text(scalar));
        }
    }
}

fn identity(element: &Value, text: &impl Fn(&Value) -> String) -> Option<String> {
    let fields = element.as_object()?;
    IDENTITIES.iter().find_map(|name| fields.get(*name).filter(|field| **field != "None").map(text))
}

#[test]
fn a_debug_print_becomes_paths() {
    #[derive(Debug)]
    #[expect(dead_code, reason = "printed")]
    struct Part {
        name: Option<&'static str>,
        partitions: Vec<i32>,
    }
    let parts = [Part { name: Some("a: {"), partitions: vec![] }, Part { name: None, partitions: vec![7] }];
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_string);
    let paths = flatten(&tree(&parts), &text);
    let lines: Vec<String> = paths.iter().map(|(path, value)| format!("{path} = {value}")).collect();
    assert_eq!(
        lines,
        [
            ".order = a: {|1",
            "[1] = there",
            "[1].name = None",
            "[1].partitions.order = 0",
            "[1].partitions[0] = 7",
            "[a: {] = there",
            "[a: {].name = a: {",
            "[a: {].partitions.order = ",
        ]
    );
}
