//! JSON that borrows from its text: a ruleset has millions of words, and hardly one of them is escaped.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Number, Value};

/// Any value.
#[derive(Clone, Debug)]
pub enum Json<'t> {
    Null,
    Bool(bool),
    Number(Number),
    String(Cow<'t, str>),
    Array(Vec<Json<'t>>),
    Object(Object<'t>),
}

/// The members of an object, as they stand; of equal names the last one holds.
#[derive(Clone, Debug)]
pub struct Object<'t>(Vec<(Cow<'t, str>, Json<'t>)>);

impl<'t> Object<'t> {
    pub fn get(&self, key: &str) -> Option<&Json<'t>> {
        self.0.iter().rev().find(|(own, _)| own == key).map(|(_, value)| value)
    }

    /// The only member.
    pub fn only(&self) -> Option<(&str, &Json<'t>)> {
        match &self.0[..] {
            [(key, value)] => Some((key, value)),
            _ => None,
        }
    }
}

impl<'t> Json<'t> {
    /// The member of an object.
    pub fn get(&self, key: &str) -> Option<&Json<'t>> {
        self.as_object()?.get(key)
    }

    pub fn as_object(&self) -> Option<&Object<'t>> {
        if let Json::Object(object) = self { Some(object) } else { None }
    }

    pub fn as_array(&self) -> Option<&Vec<Json<'t>>> {
        if let Json::Array(list) = self { Some(list) } else { None }
    }

    pub fn as_str(&self) -> Option<&str> {
        if let Json::String(text) = self { Some(text) } else { None }
    }

    pub fn as_bool(&self) -> Option<bool> {
        if let Json::Bool(yes) = self { Some(*yes) } else { None }
    }

    pub fn as_u64(&self) -> Option<u64> {
        if let Json::Number(number) = self { number.as_u64() } else { None }
    }

    pub fn as_i64(&self) -> Option<i64> {
        if let Json::Number(number) = self { number.as_i64() } else { None }
    }

    fn owned(&self) -> Value {
        match self {
            Json::Null => Value::Null,
            Json::Bool(yes) => Value::Bool(*yes),
            Json::Number(number) => Value::Number(number.clone()),
            Json::String(text) => Value::String(text.clone().into_owned()),
            Json::Array(list) => Value::Array(list.iter().map(Json::owned).collect()),
            Json::Object(object) => {
                Value::Object(object.0.iter().map(|(key, value)| (key.clone().into_owned(), value.owned())).collect())
            }
        }
    }
}

impl fmt::Display for Json<'_> {
    /// On one line, the members of objects by name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.owned().fmt(f)
    }
}

impl<'de: 't, 't> Deserialize<'de> for Json<'t> {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Json<'t>, D::Error> {
        json.deserialize_any(AnyValue)
    }
}

struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = Json<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E: Error>(self) -> Result<Json<'de>, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E: Error>(self, yes: bool) -> Result<Json<'de>, E> {
        Ok(Json::Bool(yes))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Json<'de>, E> {
        Ok(Json::Number(number.into()))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Json<'de>, E> {
        Ok(Json::Number(number.into()))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Json<'de>, E> {
        Ok(Number::from_f64(number).map_or(Json::Null, Json::Number))
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Json<'de>, E> {
        Ok(Json::String(Cow::Borrowed(text)))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Json<'de>, E> {
        Ok(Json::String(Cow::Owned(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Json<'de>, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Json::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Json<'de>, A::Error> {
        // Most objects have one, the others several.
        let mut list = match members.next_entry::<Name<'de>, Json<'de>>()? {
            Some((Name(key), value)) => vec![(key, value)],
            None => Vec::new(),
        };
        while let Some((Name(key), value)) = members.next_entry::<Name<'de>, Json<'de>>()? {
            list.push((key, value));
        }
        Ok(Json::Object(Object(list)))
    }
}

/// The name of a member.
struct Name<'t>(Cow<'t, str>);

impl<'de: 't, 't> Deserialize<'de> for Name<'t> {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Name<'t>, D::Error> {
        json.deserialize_str(AnyName)
    }
}

struct AnyName;

impl<'de> Visitor<'de> for AnyName {
    type Value = Name<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Name<'de>, E> {
        Ok(Name(Cow::Borrowed(text)))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Name<'de>, E> {
        Ok(Name(Cow::Owned(text.to_owned())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_what_it_is_in_owned_json() {
        for text in [
            r#"{"b": [1, -2, 0.5, true, null], "a": {"é\n": "x\"y"}}"#,
            r#"["", [], {}, 18446744073709551615]"#,
            r#"{"a": 1, "a": 2}"#,
        ] {
            let (own, other): (Json<'_>, Value) =
                (serde_json::from_str(text).expect("JSON"), serde_json::from_str(text).expect("JSON"));
            assert_eq!(own.to_string(), other.to_string());
        }
        let twice: Json<'_> = serde_json::from_str(r#"{"a": 1, "a": 2}"#).expect("JSON");
        assert_eq!(twice.get("a").and_then(Json::as_u64), Some(2));
    }
}
