//! Matches that ask what the machine remembers, in the forms that we write: read back whole.

use crate::ir::Family;
use crate::option::limit::Unit;
use crate::target::iptables::dump::Match;
use crate::target::iptables::model::{self, RateAbove, SetName};

use super::rule::Given;
use super::value;

/// The value of each of these options, none of them twice or with `!`, and nothing else beside.
fn values<'g, const N: usize>(list: &'g [Given<'_>], names: [&str; N]) -> Option<[Option<&'g str>; N]> {
    let mut found = [None; N];
    for one in list {
        let place = names.iter().position(|name| *name == one.name).filter(|_| !one.not)?;
        if found[place].replace(&*one.value).is_some() {
            return None;
        }
    }
    Some(found)
}

fn stateful<'t>(own: model::Match) -> Match<'t> {
    Match::Stateful(Box::new(own))
}

/// `-m hashlimit --hashlimit-above …`
pub fn rate<'t>(list: &[Given<'_>]) -> Option<Match<'t>> {
    const NAMES: [&str; 6] = [
        "hashlimit-above",
        "hashlimit-burst",
        "hashlimit-mode",
        "hashlimit-name",
        "hashlimit-htable-max",
        "hashlimit-htable-expire",
    ];
    let [Some(rate), Some(burst), mode, Some(name), most, expire] = values(list, NAMES)? else { return None };
    let (rate, unit) = rate.split_once('/')?;
    let (unit, millis) = match unit {
        "sec" => (Unit::Second, 1_000),
        "min" => (Unit::Minute, 60_000),
        "hour" => (Unit::Hour, 3_600_000),
        _ => return None,
    };
    let per_source = match (mode, most) {
        (None, None) => false,
        (Some("srcip"), Some("65536")) => true,
        (Some(_) | None, Some(_) | None) => return None,
    };
    // What iptables-save leaves out is the unit of time.
    let expire = expire.map_or(Some(millis), value::number)?;
    let (rate, burst, name) = (value::number(rate)?, value::number(burst)?, name.to_owned());
    Some(stateful(model::Match::RateAbove(Box::new(RateAbove { rate, unit, burst, per_source, expire, name }))))
}

/// `-m connlimit --connlimit-above …`
pub fn count<'t>(list: &[Given<'_>]) -> Option<Match<'t>> {
    let names = ["connlimit-above", "connlimit-mask", "connlimit-saddr"];
    let [Some(count), Some(mask), Some(_)] = values(list, names)? else { return None };
    let client = match mask {
        "0" => None,
        "32" => Some(Family::V4),
        "128" => Some(Family::V6),
        _ => return None,
    };
    let count = value::number(count).filter(|count| *count > 0)?;
    Some(stateful(model::Match::CountAbove { count, client }))
}

/// `-m limit --limit 1/sec --limit-burst 10`
pub fn log_rate<'t>(list: &[Given<'_>]) -> Option<Match<'t>> {
    let values = values(list, ["limit", "limit-burst"])?;
    (values == [Some("1/sec"), Some("10")]).then(|| stateful(model::Match::LogRate))
}

/// `-m set --match-set NAME src`, where the name is one that we give: such a set holds clients that rules put there.
pub fn set<'t>(list: &[Given<'_>]) -> Option<Match<'t>> {
    let [only] = list else { return None };
    let ours = only.value.split_once(':').is_some_and(|(prefix, rest)| {
        let hash = rest.rsplit_once('~').map(|(_, hash)| hash);
        prefix.starts_with("LBC")
            && hash.is_some_and(|hash| hash.len() == 16 && hash.bytes().all(|b| b.is_ascii_hexdigit()))
    });
    let named = only.name == "match-set" && only.second == "src" && !only.not && ours;
    named.then(|| SetName::new(only.value.to_string())).flatten().map(|name| stateful(model::Match::InSet(name)))
}
