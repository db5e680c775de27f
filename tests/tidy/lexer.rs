//! Separates code, comments and literals of a Rust file.

/// A comment of one line, or one line of a block comment, without its marker.
#[derive(Debug, PartialEq, Eq)]
pub struct Comment {
    pub line: usize,
    pub text: String,
}

/// A file as two texts of the same length: code with blanks for comments and literals, and code with literals.
#[derive(Debug, Default)]
pub struct Lexed {
    /// Code alone; comments and the insides of literals are blanks.
    pub code: String,
    /// Code with its literals; comments are blanks.
    pub code_and_literals: String,
    pub comments: Vec<Comment>,
}

pub fn lex(text: &str) -> Lexed {
    let mut lexer = Lexer { rest: text.chars().collect(), at: 0, line: 1, lexed: Lexed::default() };
    while lexer.at < lexer.rest.len() {
        lexer.step();
    }
    lexer.lexed
}

struct Lexer {
    rest: Vec<char>,
    at: usize,
    line: usize,
    lexed: Lexed,
}

impl Lexer {
    fn peek(&self, ahead: usize) -> char {
        self.rest.get(self.at + ahead).copied().unwrap_or('\0')
    }

    /// Takes one character, and shows it in both texts, in one of them, or in neither.
    fn take(&mut self, in_code: bool, in_literals: bool) -> char {
        let c = self.rest[self.at];
        self.at += 1;
        self.line += usize::from(c == '\n');
        let shown = |shown: bool| if shown || c == '\n' { c } else { ' ' };
        self.lexed.code.push(shown(in_code));
        self.lexed.code_and_literals.push(shown(in_literals));
        c
    }

    fn step(&mut self) {
        let before = self.at.checked_sub(1).map_or(' ', |at| self.rest[at]);
        let is_word = before.is_alphanumeric() || before == '_';
        match (self.peek(0), self.peek(1)) {
            ('/', '/') => self.line_comment(),
            ('/', '*') => self.block_comment(),
            ('"', _) => self.string(),
            ('r', '"' | '#') if !is_word => self.raw_string(1),
            ('b' | 'c', 'r') if !is_word && matches!(self.peek(2), '"' | '#') => self.raw_string(2),
            ('\'', _) => self.quote(),
            _ => {
                self.take(true, true);
            }
        }
    }

    fn line_comment(&mut self) {
        let line = self.line;
        let mut text = String::new();
        while self.at < self.rest.len() && self.peek(0) != '\n' {
            text.push(self.take(false, false));
        }
        let text = text.trim_start_matches('/').trim_start_matches('!').to_owned();
        self.lexed.comments.push(Comment { line, text });
    }

    fn block_comment(&mut self) {
        let (mut depth, mut line, mut text) = (0, self.line, String::new());
        loop {
            match (self.peek(0), self.peek(1)) {
                ('/', '*') => depth += 1,
                ('*', '/') => depth -= 1,
                ('\n', _) => {
                    let text = std::mem::take(&mut text);
                    self.lexed.comments.push(Comment { line, text });
                    line += 1;
                }
                _ => {}
            }
            if matches!((self.peek(0), self.peek(1)), ('/', '*') | ('*', '/')) {
                self.take(false, false);
                self.take(false, false);
            } else if self.at < self.rest.len() {
                text.push(self.take(false, false));
            }
            if depth == 0 || self.at >= self.rest.len() {
                break;
            }
        }
        self.lexed.comments.push(Comment { line, text });
    }

    fn string(&mut self) {
        self.take(true, true);
        while self.at < self.rest.len() {
            match self.peek(0) {
                '\\' => {
                    self.take(false, true);
                    if self.at < self.rest.len() {
                        self.take(false, true);
                    }
                }
                '"' => {
                    self.take(true, true);
                    return;
                }
                _ => {
                    self.take(false, true);
                }
            }
        }
    }

    /// `r"..."`, `r#"..."#`; a raw identifier `r#name` is code.
    fn raw_string(&mut self, prefix: usize) {
        let hashes = (prefix..).take_while(|ahead| self.peek(*ahead) == '#').count();
        for _ in 0..prefix + hashes {
            self.take(true, true);
        }
        if self.peek(0) != '"' {
            return;
        }
        self.take(true, true);
        while self.at < self.rest.len() {
            let ends = self.peek(0) == '"' && (1..=hashes).all(|ahead| self.peek(ahead) == '#');
            self.take(ends, true);
            if ends {
                return;
            }
        }
    }

    /// A character literal, or the tick of a lifetime.
    fn quote(&mut self) {
        let is_escape = self.peek(1) == '\\';
        if !is_escape && self.peek(2) != '\'' {
            self.take(true, true);
            return;
        }
        self.take(true, true);
        if is_escape {
            self.take(false, true);
        }
        self.take(false, true);
        while self.at < self.rest.len() && self.peek(0) != '\'' && self.peek(0) != '\n' {
            self.take(false, true);
        }
        if self.peek(0) == '\'' {
            self.take(true, true);
        }
    }
}

#[test]
fn comments_and_literals_are_separated_from_code() {
    let text = "let a = \"// no\"; // yes \"x\n/// doc\nlet c = '\"'; let d: &'a str = r#\"/* \" no */\"#; /* one\n\
        two */ b('\\'')";
    let lexed = lex(text);
    let comments: Vec<(usize, &str)> = lexed.comments.iter().map(|c| (c.line, c.text.trim())).collect();
    assert_eq!(comments, [(1, "yes \"x"), (2, "doc"), (3, "one"), (4, "two")]);
    assert_eq!(lexed.code.len(), text.len());
    assert!(!lexed.code.contains("no") && lexed.code.contains("&'a str") && lexed.code.contains("b('  ')"));
    assert!(lexed.code_and_literals.contains("// no") && !lexed.code_and_literals.contains("doc"));
}
