//! `.env` files, by the rules of their two readers: Spin's parser (`dotenvy`), and a shell that sources them
//! (POSIX.1-2024, Shell Command Language, section 2.2).

use anyhow::{Result, ensure};
use keylet_host::ENVIRONMENT_PREFIX;
use keylet_host::env_file::{Statement, statements};
use zeroize::Zeroizing;

/// A file, statement by statement. What is not changed stays as it is, comments and empty lines too.
pub struct EnvFile(Vec<Statement>);

impl EnvFile {
    /// Reads a file. A value in quotes may have several lines.
    ///
    /// # Errors
    /// The number of the first line that Spin's parser does not read.
    pub fn parse(text: &str) -> Result<Self> {
        statements(text).map(Self)
    }

    /// The application's variables that it sets: names as in the manifest, and values.
    pub fn variables(&self) -> impl Iterator<Item = (String, &str)> {
        let assignments = self
            .0
            .iter()
            .filter_map(|statement| statement.assignment.as_ref());
        assignments.filter_map(|(name, value)| Some((variable(name)?, value.as_str())))
    }

    /// Takes out the variables that are named.
    pub fn remove(&mut self, is_named: impl Fn(&str) -> bool) {
        self.0.retain(|statement| {
            let name = statement.assignment.as_ref();
            !name
                .and_then(|(name, _)| variable(name))
                .is_some_and(|name| is_named(&name))
        });
    }

    /// Adds a variable at the end.
    ///
    /// # Errors
    /// A value that one of the readers would not read back.
    pub fn push(&mut self, name: &str, value: &str) -> Result<()> {
        if let Some(last) = self.0.last_mut()
            && !last.text.ends_with('\n')
        {
            last.text.push('\n');
        }
        let name = format!("{ENVIRONMENT_PREFIX}{}", name.to_ascii_uppercase());
        let statement = [plain(value), escaped(value)]
            .into_iter()
            .map(|quoted| Zeroizing::new(format!("{name}={}\n", quoted.as_str())))
            .find_map(|text| both_read(&text, &name, value));
        ensure!(
            statement.is_some(),
            "the value of {name} cannot be written so that Spin and a shell both read it"
        );
        self.0.extend(statement);
        Ok(())
    }

    /// The file.
    pub fn text(&self) -> Zeroizing<String> {
        Zeroizing::new(
            self.0
                .iter()
                .map(|statement| statement.text.as_str())
                .collect(),
        )
    }
}

/// The name in the manifest of the variable that an environment variable holds.
pub fn variable(name: &str) -> Option<String> {
    Some(name.strip_prefix(ENVIRONMENT_PREFIX)?.to_ascii_lowercase())
}

/// In single quotes: everything stands for itself.
fn plain(value: &str) -> Zeroizing<String> {
    Zeroizing::new(format!("'{value}'"))
}

/// In single quotes, but for quotes and backslashes, which are escaped outside: Spin's parser takes a backslash for an
/// escape when it looks for the end of a quote.
fn escaped(value: &str) -> Zeroizing<String> {
    let value = Zeroizing::new(value.replace('\\', r"'\\'"));
    // The quotes that were just added are not the value's.
    let quote = |part: &str| part.replace('\'', r"'\''");
    let parts: Vec<String> = value.split(r"'\\'").map(quote).collect();
    Zeroizing::new(format!("'{}'", parts.join(r"'\\'")))
}

/// The statement, if both readers find this assignment in it and nothing else.
fn both_read(text: &str, name: &str, value: &str) -> Option<Statement> {
    let statement = Statement::parse(text)?;
    let (by_spin, found) = statement.assignment.as_ref()?;
    let words = shlex::split(text).map(Zeroizing::new)?;
    let [word] = words.as_slice() else {
        return None;
    };
    let by_shell = word.strip_prefix(name)?.strip_prefix('=')?;
    let is_same = by_spin == name && **found == value && by_shell == value;
    is_same.then_some(statement)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_changed_stays_as_it_is() {
        let text = "# mine\n\nexport OTHER=1\nSPIN_VARIABLE_A=\"one\ntwo\"\nSPIN_VARIABLE_B='x' # a remark\nLAST=2";
        let mut file = EnvFile::parse(text).unwrap();
        assert_eq!(*file.text(), text);
        assert_eq!(
            file.variables().collect::<Vec<_>>(),
            [("a".to_owned(), "one\ntwo"), ("b".to_owned(), "x")]
        );
        file.remove(|name| name == "a");
        file.push("c", "3").unwrap();
        assert_eq!(
            *file.text(),
            "# mine\n\nexport OTHER=1\nSPIN_VARIABLE_B='x' # a remark\nLAST=2\nSPIN_VARIABLE_C='3'\n"
        );
    }

    #[test]
    fn a_file_that_is_not_read_is_named_by_its_line() {
        for (text, line) in [
            ("A=1\nB='open\nC=2\n", "line 2 "),
            ("A=1\n\nMIICdQIBADANBgkq hkiG\n", "line 3 "),
            ("A=one two\n", "line 1 "),
        ] {
            let error = EnvFile::parse(text).err().unwrap().to_string();
            assert!(error.starts_with(line), "{error}");
        }
        assert!(EnvFile::parse("\u{feff}A=1\r\nB=2\r\n").is_ok());
    }

    #[test]
    fn every_value_is_read_back() {
        let pieces = [
            "", "a", "'", "\"", "\\", "$", "`", " ", "#", "\n", "\\n", "$A", "ü", "!",
        ];
        for first in pieces {
            for second in pieces {
                for third in pieces {
                    let value = [first, second, third].concat();
                    let mut file = EnvFile::parse("").unwrap();
                    file.push("a", &value).unwrap();
                    file.push("b", "2").unwrap();
                    let read = EnvFile::parse(&file.text()).unwrap();
                    let read: Vec<(String, &str)> = read.variables().collect();
                    assert_eq!(
                        read,
                        [("a".to_owned(), value.as_str()), ("b".to_owned(), "2")]
                    );
                }
            }
        }
    }
}
