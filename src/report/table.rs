//! Tables and figures for people: columns without lines, sizes in GiB, times in s or ms.

use comfy_table::{CellAlignment, Table, presets};

/// `rows` under `header`, in columns, of which those in `right` are right-aligned. The table ends with a newline.
pub fn table(header: &[&str], rows: &[Vec<String>], right: &[usize]) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    if !header.is_empty() {
        table.set_header(header.to_vec());
    }
    for row in rows {
        table.add_row(row.clone());
    }
    for (at, column) in table.column_iter_mut().enumerate() {
        column.set_padding((2, 0));
        if right.contains(&at) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let lines = table.lines().map(|line| line.trim_end().to_string() + "\n");
    lines.collect()
}

/// Bytes in GiB, or small sizes in MiB or KiB, so that none prints as 0.
pub fn size(bytes: u64) -> String {
    let bytes_ = bytes as f64;
    match bytes {
        0 => "0".to_string(),
        1..=0xfffff => format!("{:.1} KiB", bytes_ / 1024.0),
        0x100000..=0x9ffffff => format!("{:.1} MiB", bytes_ / f64::from(1 << 20)),
        _ => format!("{:.2} GiB", bytes_ / f64::from(1 << 30)),
    }
}

/// Seconds in s, below one second in ms.
pub fn time(seconds: f64) -> String {
    if seconds >= 1.0 {
        format!("{seconds:.2} s")
    } else {
        format!("{:.1} ms", seconds * 1e3)
    }
}

/// A count with thousands separators: `2,818,830,336`.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_readable() {
        assert_eq!(count(2_818_830_336), "2,818,830,336");
        assert_eq!(
            (count(0), count(999), count(1000)),
            ("0".into(), "999".into(), "1,000".into())
        );
        assert_eq!(size(16_624_107_520), "15.48 GiB");
        assert_eq!(size(3 << 20), "3.0 MiB");
        assert_eq!(size(512), "0.5 KiB");
        assert_eq!(time(0.0123), "12.3 ms");
        assert_eq!(time(20.0), "20.00 s");
    }

    #[test]
    fn columns_line_up() {
        let rows = [
            vec!["weights".to_string(), "1.00 GiB".to_string()],
            vec!["code".to_string(), "10.00 GiB".to_string()],
        ];
        assert_eq!(
            table(&["part", "size"], &rows, &[1]),
            "  part          size\n  weights   1.00 GiB\n  code     10.00 GiB\n"
        );
    }
}
