//! Foreign text on a terminal and in signed notes: it must not look like something else than it is.

/// Whether a character moves the cursor, turns the direction of writing, or shows nothing: control characters, separators of lines,
/// format characters (Unicode category Cf) and fillers.
pub fn is_unseen(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}' | '\u{70f}' | '\u{890}' | '\u{891}'
            | '\u{8e2}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{2800}' | '\u{3164}'
            | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}'
            | '\u{110bd}' | '\u{110cd}' | '\u{13430}'..='\u{1343f}' | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

/// Foreign text on one line: nothing in it can move a terminal's cursor, hide, or turn what stands around it. Letters of scripts
/// that are written from right to left stay as they are.
pub fn plain(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut out, c| {
        if is_unseen(c) {
            out.extend(c.escape_unicode())
        } else {
            out.push(c)
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_text_stays_on_its_line() {
        assert_eq!(plain("a\u{1b}[2Jb\r\nc\u{202e}d é"), "a\\u{1b}[2Jb\\u{d}\\u{a}c\\u{202e}d é");
        for c in [
            '\u{61c}',
            '\u{200d}',
            '\u{2066}',
            '\u{ad}',
            '\u{180e}',
            '\u{e0041}',
            '\u{3164}',
            '\u{feff}',
            '\u{9b}',
        ] {
            assert!(is_unseen(c), "{}", c.escape_unicode());
        }
        for c in ['a', ' ', 'é', '漢', 'א', '…', '\u{fffd}'] {
            assert!(!is_unseen(c), "{c}");
        }
        assert_eq!(plain(&plain("\u{1b}")), plain("\u{1b}"));
    }
}
