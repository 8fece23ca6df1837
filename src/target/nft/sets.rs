//! The sets and maps of a dump, wherever they stand.

use super::dump::{Dump, Element, Elements, Expr, Operand, Statement};

/// The elements of all named sets, and of those in rules.
pub fn sets(dump: &Dump) -> impl Iterator<Item = &[Element]> {
    let rules = dump.tables.iter().flat_map(|table| table.chains()).flat_map(|chain| &chain.rules);
    let statements = rules.flat_map(|rule| &rule.statements);
    let named = dump.tables.iter().flat_map(|table| table.sets()).map(|set| set.elements.as_slice());
    named.chain(statements.flat_map(anonymous))
}

/// The sets that a statement writes out. Those of a draw are not asked for one number.
fn anonymous(statement: &Statement) -> impl Iterator<Item = &[Element]> {
    let mut list: Vec<&[Element]> = Vec::new();
    fn of<'d>(elements: &'d Elements, list: &mut Vec<&'d [Element]>) {
        if let Elements::Anonymous(elements) = elements {
            list.push(elements);
        }
    }
    fn within<'d>(expr: &'d Expr, list: &mut Vec<&'d [Element]>) {
        if let Expr::Map(key, elements) = expr {
            if !matches!(**key, Expr::Numgen { .. }) {
                of(elements, list);
            }
            within(key, list);
        }
    }
    match statement {
        Statement::Match { left, right, .. } => {
            within(left, &mut list);
            if let Operand::Elements(elements) = right {
                of(elements, &mut list);
            }
        }
        Statement::Lookup { key, map } => {
            within(key, &mut list);
            if !matches!(key, Expr::Numgen { .. }) {
                of(map, &mut list);
            }
        }
        Statement::Nat { address, port, .. } => {
            [address, port].into_iter().flatten().for_each(|expr| within(expr, &mut list));
        }
        Statement::Mark { value, .. } => within(value, &mut list),
        Statement::Learn { key, data, .. } => {
            within(key, &mut list);
            data.iter().for_each(|data| within(data, &mut list));
        }
        Statement::Verdict(_)
        | Statement::Reject(_)
        | Statement::Limit { .. }
        | Statement::Quiet(_)
        | Statement::Unknown(_) => {}
    }
    list.into_iter()
}
