use super::Style;

/// Rows of text in aligned columns under a heading.
#[derive(Debug)]
pub(crate) struct Table {
    heading: Vec<&'static str>,
    rows: Vec<Vec<(String, Option<Style>)>>,
}

impl Table {
    /// An empty table with these column names.
    pub(crate) fn new(heading: &[&'static str]) -> Table {
        Table {
            heading: heading.to_vec(),
            rows: Vec::new(),
        }
    }

    /// Adds a row of plain cells.
    pub(crate) fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows
            .push(cells.into_iter().map(|cell| (cell, None)).collect());
    }

    /// Adds a row whose last cell stands out.
    pub(crate) fn row_with_verdict<const N: usize>(&mut self, cells: [String; N], style: Style) {
        self.row(cells);
        if let Some((_, last)) = self.rows.last_mut().and_then(|row| row.last_mut()) {
            *last = Some(style);
        }
    }

    /// The table as text; an empty one says so.
    pub(super) fn render(&self, color: bool) -> String {
        if self.rows.is_empty() {
            return "none\n".to_owned();
        }
        let widths: Vec<usize> = self
            .heading
            .iter()
            .enumerate()
            .map(|(column, name)| {
                let cells = self
                    .rows
                    .iter()
                    .filter_map(|row| row.get(column))
                    .map(|(cell, _)| cell.chars().count());
                cells.chain([name.len()]).max().unwrap_or(0)
            })
            .collect();
        let mut text = String::new();
        let heading: Vec<_> = self
            .heading
            .iter()
            .map(|name| ((*name).to_owned(), Some(Style::Strong)))
            .collect();
        for row in std::iter::once(&heading).chain(&self.rows) {
            push_row(&mut text, row, &widths, color);
        }
        text
    }
}

fn push_row(text: &mut String, row: &[(String, Option<Style>)], widths: &[usize], color: bool) {
    let mut line = String::new();
    for (index, ((cell, style), width)) in row.iter().zip(widths).enumerate() {
        let gap = if index + 1 == row.len() {
            0
        } else {
            (width - cell.chars().count()) + 2
        };
        match style {
            Some(style) if color => line.push_str(&format!("{}{cell}\x1b[0m", style.sequence())),
            _ => line.push_str(cell),
        }
        line.extend(std::iter::repeat_n(' ', gap));
    }
    text.push_str(line.trim_end());
    text.push('\n');
}
