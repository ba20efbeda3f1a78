//! Cuts the text form into tokens. Ends of lines are tokens, since a node is a line.

use super::error::ParseError;

/// One piece of the text.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    /// A bare or quoted name.
    Name(String),
    /// Digits with a sign, a point or an exponent.
    Number(String),
    /// A node's number, after `%`.
    Id(u32),
    /// One of `=`, `,`, `:`, `#`, `[`, `]`, `{`, `}`.
    Mark(char),
    /// The end of one line or more.
    Line,
    /// The end of the text.
    End,
}

impl Token {
    /// The token for error messages.
    pub fn describe(&self) -> String {
        match self {
            Token::Name(name) => format!("`{name}`"),
            Token::Number(number) => format!("`{number}`"),
            Token::Id(id) => format!("`%{id}`"),
            Token::Mark(mark) => format!("`{mark}`"),
            Token::Line => "the end of the line".to_string(),
            Token::End => "the end of the text".to_string(),
        }
    }
}

/// A token and where it starts.
#[derive(Clone, Debug)]
pub(super) struct Placed {
    pub token: Token,
    pub line: usize,
    pub column: usize,
}

/// Whether a name needs no quotes.
pub(super) fn is_bare(name: &str) -> bool {
    name.starts_with(starts_name) && name.chars().all(continues_name)
}

fn starts_name(c: char) -> bool {
    c.is_ascii_alphabetic() || c == '_'
}

fn continues_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || "_./-".contains(c)
}

/// The tokens of `text`; the last is [`Token::End`].
pub(super) fn lex(text: &str) -> Result<Vec<Placed>, ParseError> {
    let mut tokens: Vec<Placed> = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let mut lexer = Lexer {
            rest: line.chars().collect(),
            at: 0,
            line: at + 1,
        };
        while let Some(token) = lexer.token()? {
            tokens.push(token);
        }
        // Empty lines do not count.
        if tokens.last().is_some_and(|last| last.token != Token::Line) {
            tokens.push(lexer.placed(Token::Line, lexer.at));
        }
    }
    let line = text.lines().count() + 1;
    tokens.push(Placed {
        token: Token::End,
        line,
        column: 1,
    });
    Ok(tokens)
}

struct Lexer {
    rest: Vec<char>,
    at: usize,
    line: usize,
}

impl Lexer {
    fn placed(&self, token: Token, start: usize) -> Placed {
        Placed {
            token,
            line: self.line,
            column: start + 1,
        }
    }

    fn wrong(&self, at: usize, expected: &str) -> ParseError {
        ParseError {
            line: self.line,
            column: at + 1,
            expected: expected.to_string(),
            found: self
                .rest
                .get(at)
                .map_or("the end of the line".into(), |c| format!("`{c}`")),
        }
    }

    fn while_(&mut self, holds: impl Fn(char) -> bool) -> String {
        let taken: String = self.rest[self.at..]
            .iter()
            .copied()
            .take_while(|c| holds(*c))
            .collect();
        self.at += taken.chars().count();
        taken
    }

    fn token(&mut self) -> Result<Option<Placed>, ParseError> {
        self.while_(char::is_whitespace);
        let start = self.at;
        let Some(&first) = self.rest.get(start) else {
            return Ok(None);
        };
        let token = if starts_name(first) {
            Token::Name(self.while_(continues_name))
        } else if first.is_ascii_digit() || first == '-' {
            Token::Number(self.while_(|c| c.is_ascii_alphanumeric() || ".+-".contains(c)))
        } else if first == '%' {
            self.at += 1;
            let digits = self.while_(|c| c.is_ascii_digit());
            let id = digits
                .parse()
                .map_err(|_| self.wrong(start, "a node such as `%0`"))?;
            Token::Id(id)
        } else if first == '"' {
            self.at += 1;
            Token::Name(self.quoted()?)
        } else if "=,:#[]{}".contains(first) {
            self.at += 1;
            Token::Mark(first)
        } else {
            return Err(self.wrong(
                start,
                "a name, a number, a node, or one of `= , : # [ ] { }`",
            ));
        };
        Ok(Some(self.placed(token, start)))
    }

    /// Reads what follows an opening quote, up to and including the closing one.
    fn quoted(&mut self) -> Result<String, ParseError> {
        let mut name = String::new();
        loop {
            name.push_str(&self.while_(|c| c != '"' && c != '\\'));
            let start = self.at;
            self.at += 1;
            match self.rest.get(start) {
                Some('"') => return Ok(name),
                Some(_) => name.push(self.escaped(start)?),
                None => return Err(self.wrong(start, "a closing `\"`")),
            }
        }
    }

    /// Reads what follows the backslash at `start`.
    fn escaped(&mut self, start: usize) -> Result<char, ParseError> {
        let escape = self.rest.get(self.at).copied();
        self.at += 1;
        let wrong = || self.wrong(start, "`\\\"`, `\\\\` or `\\u{hex}`");
        match escape {
            Some(c @ ('"' | '\\')) => Ok(c),
            Some('u') => {
                let inside = self.rest.get(self.at..).unwrap_or_default();
                let end = inside.iter().position(|c| *c == '}').ok_or_else(wrong)?;
                let digits: String = inside[..end].iter().collect();
                let digits = digits.strip_prefix('{').ok_or_else(wrong)?;
                let code = u32::from_str_radix(digits, 16).map_err(|_| wrong())?;
                let c = char::from_u32(code).ok_or_else(wrong)?;
                self.at += end + 1;
                Ok(c)
            }
            _ => Err(wrong()),
        }
    }
}
