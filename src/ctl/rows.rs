//! Lists on standard output: a table, CSV, or one JSON object a line, of the columns that are asked for.

use super::arguments::ListOutput;
use super::client::{Body, Client};
use super::exit::{Exit, Failure};
use super::output::{Output, read};
use super::table::aligned;
use super::when;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use std::borrow::Cow;

/// Rows of an answer that are aligned together: there may be too many to hold.
const SCREEN: usize = 1000;

/// One column of a list.
pub struct Column<T> {
    /// Its name in CSV and for `--columns`: that of the field in JSON.
    pub name: &'static str,
    /// Its name above a table.
    pub head: Cow<'static, str>,
    /// Whether a table has it if nothing is said; CSV has all.
    pub usual: bool,
    /// What stands in it, if not the field of this name as JSON has it.
    pub cell: Option<fn(&T) -> Cell>,
}

/// What stands in a column.
pub enum Cell {
    /// Text.
    Text(String),
    /// A time: to the minute in a table, whole in CSV.
    Time(Option<Timestamp>),
}

impl<T: ToString> From<Option<T>> for Cell {
    fn from(value: Option<T>) -> Cell {
        Cell::Text(value.map(|value| value.to_string()).unwrap_or_default())
    }
}

/// A column of a table.
pub const fn usual<T>(name: &'static str, head: &'static str, cell: fn(&T) -> Cell) -> Column<T> {
    Column { name, head: Cow::Borrowed(head), usual: true, cell: Some(cell) }
}

/// A column that is only in CSV, or asked for.
pub const fn further<T>(name: &'static str, head: &'static str, cell: fn(&T) -> Cell) -> Column<T> {
    Column { name, head: Cow::Borrowed(head), usual: false, cell: Some(cell) }
}

/// Columns of the fields of these names.
pub fn fields(names: impl IntoIterator<Item = &'static str>) -> Vec<Column<Value>> {
    let column = |name: &'static str| {
        let head = Cow::Owned(name.replace('_', " ").to_uppercase());
        Column { name, head, usual: true, cell: None }
    };
    names.into_iter().map(column).collect()
}

fn field(row: &Value, name: &str) -> Cell {
    let text = |value: &Value| match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        // As the daemon writes it in CSV.
        Value::Number(number) => match number.as_f64().filter(|_| number.is_f64()) {
            Some(rate) => rate.to_string(),
            None => number.to_string(),
        },
        other => other.to_string(),
    };
    match &row[name] {
        Value::Array(values) => Cell::Text(values.iter().map(text).collect::<Vec<_>>().join(" ")),
        value if matches!(name, "at" | "since" | "until" | "first_at" | "last_at") => match text(value).parse() {
            Ok(at) => Cell::Time(Some(at)),
            Err(_) => Cell::Text(text(value)),
        },
        value => Cell::Text(text(value)),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Json,
    Csv,
    Table,
}

/// A list that is printed page by page: it may be too long to hold.
pub struct Rows<'a, T> {
    columns: Vec<&'a Column<T>>,
    form: Form,
    printed: bool,
}

impl<'a, T: Serialize> Rows<'a, T> {
    /// A list of these columns, as it is asked for.
    ///
    /// # Errors
    /// Usage: a column that there is not, or two forms at once.
    pub fn new(all: &'a [Column<T>], asked: &ListOutput, out: &Output) -> Result<Rows<'a, T>, Failure> {
        let form = match (out.json(), asked.csv) {
            (true, false) => Form::Json,
            (false, true) => Form::Csv,
            (false, false) => Form::Table,
            (true, true) => return Err(Failure::new(Exit::Usage, "--csv and --json exclude each other")),
        };
        if form == Form::Json && !asked.columns.is_empty() {
            return Err(Failure::new(Exit::Usage, "--columns is for tables and CSV; JSON has every field"));
        }
        let named = |name: &String| {
            all.iter().find(|column| column.name == name.trim()).ok_or_else(|| {
                let names: Vec<&str> = all.iter().map(|column| column.name).collect();
                Failure::new(Exit::Usage, format!("--columns {name}: there are {}", names.join(", ")))
            })
        };
        let columns = match asked.columns.as_slice() {
            [] => all.iter().filter(|column| column.usual || form == Form::Csv).collect(),
            names => names.iter().map(named).collect::<Result<Vec<_>, _>>()?,
        };
        Ok(Rows { columns, form, printed: false })
    }

    /// Whether a person reads a table.
    pub fn is_table(&self) -> bool {
        self.form == Form::Table
    }

    /// Prints rows, aligned among themselves; above the first of all, the head.
    pub fn print(&mut self, rows: &[T], out: &mut Output) -> Result<(), Failure> {
        if self.form == Form::Json {
            return rows.iter().try_for_each(|row| out.object(row));
        }
        let cells = |row: &T| {
            let by_name = self.columns.iter().any(|column| column.cell.is_none());
            let json = if by_name { serde_json::to_value(row).unwrap_or_default() } else { Value::Null };
            let cell = |column: &&Column<T>| match column.cell {
                Some(cell) => self.shown(cell(row)),
                None => self.shown(field(&json, column.name)),
            };
            self.columns.iter().map(cell).collect::<Vec<_>>()
        };
        let rows: Vec<Vec<String>> = rows.iter().map(cells).collect();
        let head = !std::mem::replace(&mut self.printed, true);
        if self.form == Form::Csv {
            if head {
                out.line(&csv(self.columns.iter().map(|column| column.name)))?;
            }
            return rows.iter().try_for_each(|row| out.line(&csv(row.iter().map(String::as_str))));
        }
        let heads: Vec<&str> = self.columns.iter().map(|column| column.head.as_ref()).collect();
        let without = usize::from(!head || rows.is_empty());
        aligned(&heads, &rows).iter().skip(without).try_for_each(|line| out.line(line))
    }

    /// Ends the list: CSV has its head, whether or not there are rows.
    pub fn end(mut self, out: &mut Output) -> Result<(), Failure> {
        if self.printed || self.form != Form::Csv { Ok(()) } else { self.print(&[], out) }
    }

    fn shown(&self, cell: Cell) -> String {
        match (cell, self.form) {
            (Cell::Text(text), _) => text,
            (Cell::Time(None), _) => String::new(),
            (Cell::Time(Some(at)), Form::Table) => when::shown(at),
            (Cell::Time(Some(at)), Form::Csv | Form::Json) => at.to_string(),
        }
    }
}

/// Prints an answer that comes in lines of JSON; each is made ready first. False where there was none.
pub fn lines(
    client: &Client,
    target: &str,
    mut rows: Rows<Value>,
    out: &mut Output,
    ready: fn(&mut Value),
) -> Result<bool, Failure> {
    let (mut some, mut any) = (Vec::new(), false);
    client.follow(target, Body::Lines, |line| {
        let mut row = read(line)?;
        ready(&mut row);
        some.push(row);
        if some.len() < SCREEN {
            return Ok(());
        }
        any = true;
        rows.print(&std::mem::take(&mut some), out)
    })?;
    if !some.is_empty() {
        any = true;
        rows.print(&some, out)?;
    }
    rows.end(out)?;
    Ok(any)
}

/// A line of CSV (RFC 4180), with the line end of this machine.
fn csv<'a>(cells: impl Iterator<Item = &'a str>) -> String {
    let quoted = cells.map(|cell| match cell.contains([',', '"', '\r', '\n']) {
        true => format!("\"{}\"", cell.replace('"', "\"\"")),
        false => cell.to_owned(),
    });
    quoted.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: &[Column<u8>] =
        &[usual("n", "N", |n| Some(n).into()), further("twice", "TWICE", |n| Cell::Text(format!("{},", n * 2)))];

    #[test]
    fn the_columns_are_those_asked_for_in_their_order() {
        let names = |csv, columns: &[&str]| {
            let columns = columns.iter().map(|name| (*name).to_owned()).collect();
            let asked = ListOutput { csv, columns };
            let rows = Rows::new(COLUMNS, &asked, &Output::new(false));
            rows.map(|rows| rows.columns.iter().map(|column| column.name).collect::<Vec<_>>())
        };
        assert_eq!(names(false, &[]).ok(), Some(vec!["n"]));
        assert_eq!(names(true, &[]).ok(), Some(vec!["n", "twice"]));
        assert_eq!(names(false, &["twice", "n"]).ok(), Some(vec!["twice", "n"]));
        assert!(names(true, &["thrice"]).is_err());
        assert!(Rows::new(COLUMNS, &ListOutput { csv: true, columns: vec![] }, &Output::new(true)).is_err());
    }

    #[test]
    fn a_field_stands_in_csv_as_the_daemon_would_write_it() {
        let row = serde_json::json!({
            "campaign": "77", "lists": ["a", "b"], "last_at": "2026-08-21T03:00:00Z", "rate": 0.0, "sent": 3,
            "retracted": false, "code": null,
        });
        let names = ["campaign", "lists", "last_at", "rate", "sent", "retracted", "code", "none"];
        let columns = fields(names);
        let shown = |csv| {
            let asked = ListOutput { csv, columns: vec![] };
            let rows = Rows::new(&columns, &asked, &Output::new(false)).ok().unwrap();
            names.map(|name| rows.shown(field(&row, name)))
        };
        assert_eq!(shown(true), ["77", "a b", "2026-08-21T03:00:00Z", "0", "3", "false", "", ""]);
        assert_eq!(shown(false)[2], "2026-08-21 03:00");
        assert_eq!(columns[2].head, "LAST AT");
    }

    #[test]
    fn a_cell_with_a_comma_is_quoted() {
        assert_eq!(csv(["a", "b,c", "say \"no\""].into_iter()), "a,\"b,c\",\"say \"\"no\"\"\"");
    }
}
