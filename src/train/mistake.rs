//! What is wrong with a recipe, in words: the key that was meant, and the line of the file.

/// What `error` says, in one line: with the table or key that it is about, and the nearest of the names that would do.
pub(super) fn explained(error: &toml::de::Error) -> String {
    let text = error.to_string();
    // After the message comes a line with the path.
    let mut lines = text.lines().map(str::to_string);
    let message = nearest(lines.next().unwrap_or_default());
    lines.fold(message, |so_far, line| format!("{so_far}, {line}"))
}

/// `message` with the nearest of the names that it lists, if it is about an unknown one.
fn nearest(message: String) -> String {
    let mut words = message.split('`').skip(1).step_by(2);
    let unknown = words.next().filter(|_| message.starts_with("unknown "));
    let near = unknown
        .and_then(|unknown| words.min_by_key(|known| strsim::damerau_levenshtein(unknown, known)));
    match near {
        Some(near) => message.replacen(
            ", expected",
            &format!("; the nearest is `{near}`; expected"),
            1,
        ),
        None => message,
    }
}

/// The line, from 1, that gives `text` the mistake `found`: the first one up to which `mistake` says just that.
pub(super) fn line_of(
    text: &str,
    found: &str,
    mistake: impl Fn(&str) -> Option<String>,
) -> Option<usize> {
    let ends = text.match_indices('\n').map(|(at, _)| at + 1);
    let mut ends = ends.chain([text.len()]);
    let line = ends.position(|end| mistake(&text[..end]).as_deref() == Some(found));
    line.map(|before| before + 1)
}
