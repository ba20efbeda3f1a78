//! Reads tokens one by one, and the parts of lines: names, numbers, lists, axes.

use std::str::FromStr;

use super::super::dtype::DType;
use super::super::ir::NodeId;
use super::super::shape::{Axis, Shape};
use super::error::ParseError;
use super::lex::{Placed, Token, lex};

pub(super) type Result<T> = std::result::Result<T, ParseError>;

/// A position in the tokens of a text.
pub(super) struct Cursor {
    tokens: Vec<Placed>,
    at: usize,
}

impl Cursor {
    pub fn new(text: &str) -> Result<Self> {
        Ok(Cursor {
            tokens: lex(text)?,
            at: 0,
        })
    }

    fn here(&self) -> &Placed {
        // The last token is the end, which is never passed.
        &self.tokens[self.at.min(self.tokens.len() - 1)]
    }

    /// The next token, which is not taken.
    pub fn peek(&self) -> &Token {
        &self.here().token
    }

    /// The error that `expected` was expected here.
    pub fn wrong<T>(&self, expected: impl Into<String>) -> Result<T> {
        let here = self.here();
        Err(ParseError {
            line: here.line,
            column: here.column,
            expected: expected.into(),
            found: here.token.describe(),
        })
    }

    /// Takes the next token if `read` accepts it.
    pub fn take<T>(&mut self, expected: &str, read: impl Fn(&Token) -> Option<T>) -> Result<T> {
        match read(self.peek()) {
            Some(value) => {
                self.at += 1;
                Ok(value)
            }
            None => self.wrong(expected),
        }
    }

    /// Takes the next token if it is `token`.
    pub fn skip(&mut self, token: &Token) -> bool {
        let found = self.peek() == token;
        self.at += usize::from(found);
        found
    }

    pub fn expect(&mut self, token: Token) -> Result<()> {
        match self.skip(&token) {
            true => Ok(()),
            false => self.wrong(token.describe()),
        }
    }

    pub fn mark(&mut self, mark: char) -> Result<()> {
        self.expect(Token::Mark(mark))
    }

    /// Takes the word `word`.
    pub fn word(&mut self, word: &str) -> Result<()> {
        self.expect(Token::Name(word.to_string()))
    }

    pub fn name(&mut self, expected: &str) -> Result<String> {
        self.take(expected, |token| match token {
            Token::Name(name) => Some(name.clone()),
            _ => None,
        })
    }

    /// Takes one of a fixed set of words.
    pub fn choice<T>(
        &mut self,
        what: &str,
        words: &[&str],
        named: impl Fn(&str) -> Option<T>,
    ) -> Result<T> {
        let expected = format!("{what} ({})", words.join(", "));
        self.take(&expected, |token| match token {
            Token::Name(name) => named(name),
            _ => None,
        })
    }

    pub fn number<T: FromStr>(&mut self, expected: &str) -> Result<T> {
        self.take(expected, |token| match token {
            // `inf` and `NaN` are numbers too.
            Token::Number(digits) | Token::Name(digits) => digits.parse().ok(),
            _ => None,
        })
    }

    pub fn size(&mut self) -> Result<usize> {
        self.number("a size")
    }

    pub fn node(&mut self) -> Result<NodeId> {
        self.take("a node such as `%0`", |token| match token {
            Token::Id(id) => Some(NodeId(*id)),
            _ => None,
        })
    }

    /// Items between brackets, with commas.
    pub fn list<T>(&mut self, mut item: impl FnMut(&mut Self) -> Result<T>) -> Result<Vec<T>> {
        self.mark('[')?;
        let mut items = Vec::new();
        if self.skip(&Token::Mark(']')) {
            return Ok(items);
        }
        loop {
            items.push(item(self)?);
            if self.skip(&Token::Mark(']')) {
                return Ok(items);
            }
            if !self.skip(&Token::Mark(',')) {
                return self.wrong("`,` or `]`");
            }
        }
    }

    pub fn nodes(&mut self) -> Result<Vec<NodeId>> {
        self.list(Cursor::node)
    }

    pub fn axes(&mut self) -> Result<Vec<Axis>> {
        self.list(|cursor| {
            let name = cursor.name("an axis")?;
            cursor.mark('=')?;
            Ok(Axis::new(name, cursor.size()?))
        })
    }

    pub fn shape(&mut self) -> Result<Shape> {
        let elements = DType::ELEMENTS.into_iter();
        let words: Vec<_> = elements.clone().map(DType::name).collect();
        let named = |word: &str| elements.clone().find(|dtype| dtype.name() == word);
        let dtype = self.choice("an element type", &words, named)?;
        Ok(Shape::new(dtype, self.axes()?))
    }

    /// Takes `key=`.
    pub fn key(&mut self, key: &str) -> Result<()> {
        match self.skip(&Token::Name(key.to_string())) {
            true => self.mark('='),
            false => self.wrong(format!("`{key}=`")),
        }
    }
}
