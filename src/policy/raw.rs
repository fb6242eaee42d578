//! Values as they were written, before anybody asks what they mean.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};

/// How a TOML reader hands over a date that stands without quotes.
const TOML_DATE: &str = "$__toml_private_datetime";

const LIST: &str = "a list";
const TABLE: &str = "a table";

/// One value. Whatever its kind, it is read; whether it can be what it stands for is asked later, of all values.
#[derive(Clone, PartialEq)]
pub(super) enum Raw {
    Text(String),
    Integer(i128),
    Float(f64),
    Switch(bool),
    /// What can be no value at all, in words.
    Odd(&'static str),
}

impl Raw {
    pub(super) fn text(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl fmt::Display for Raw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Integer(number) => number.fmt(f),
            Self::Float(number) => number.fmt(f),
            Self::Switch(on) => on.fmt(f),
            Self::Odd(what) => f.write_str(what),
        }
    }
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;

        impl<'de> Visitor<'de> for Any {
            type Value = Raw;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text, a number, true or false")
            }

            fn visit_bool<E>(self, on: bool) -> Result<Raw, E> {
                Ok(Raw::Switch(on))
            }

            fn visit_i64<E>(self, number: i64) -> Result<Raw, E> {
                Ok(Raw::Integer(number.into()))
            }

            fn visit_u64<E>(self, number: u64) -> Result<Raw, E> {
                Ok(Raw::Integer(number.into()))
            }

            fn visit_f64<E>(self, number: f64) -> Result<Raw, E> {
                Ok(Raw::Float(number))
            }

            fn visit_str<E>(self, text: &str) -> Result<Raw, E> {
                Ok(Raw::text(text))
            }

            fn visit_unit<E>(self) -> Result<Raw, E> {
                Ok(Raw::Odd("null"))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Raw, A::Error> {
                while list.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Raw::Odd(LIST))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Raw, A::Error> {
                let mut date = None;
                while let Some(name) = map.next_key::<String>()? {
                    if name == TOML_DATE {
                        date = Some(map.next_value()?);
                    } else {
                        map.next_value::<IgnoredAny>()?;
                    }
                }
                Ok(date.map_or(Raw::Odd(TABLE), Raw::Text))
            }
        }

        deserializer.deserialize_any(Any)
    }
}

impl Serialize for Raw {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Text(text) => serializer.serialize_str(text),
            Self::Integer(number) => match i64::try_from(*number) {
                Ok(number) => serializer.serialize_i64(number),
                Err(_) => serializer.serialize_i128(*number),
            },
            Self::Float(number) => serializer.serialize_f64(*number),
            Self::Switch(on) => serializer.serialize_bool(*on),
            Self::Odd(LIST) => serializer.collect_seq(std::iter::empty::<()>()),
            Self::Odd(TABLE) => serializer.collect_map(std::iter::empty::<((), ())>()),
            Self::Odd(_) => serializer.serialize_unit(),
        }
    }
}

/// One value, or a list of them.
#[derive(Clone, PartialEq)]
pub(super) struct Many<T>(pub(super) Vec<T>);

impl<T> Default for Many<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Many<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Any<T> {
            fn one<E: serde::de::Error>(raw: Raw) -> Result<Many<T>, E> {
                let value = match raw {
                    Raw::Text(text) => T::deserialize(serde::de::value::StringDeserializer::new(text)),
                    Raw::Integer(number) => match i64::try_from(number) {
                        Ok(number) => T::deserialize(serde::de::value::I64Deserializer::new(number)),
                        Err(_) => T::deserialize(serde::de::value::I128Deserializer::new(number)),
                    },
                    Raw::Float(number) => T::deserialize(serde::de::value::F64Deserializer::new(number)),
                    Raw::Switch(on) => T::deserialize(serde::de::value::BoolDeserializer::new(on)),
                    Raw::Odd(what) => T::deserialize(serde::de::value::StrDeserializer::new(what)),
                };
                value.map(|value| Many(vec![value]))
            }
        }

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Any<T> {
            type Value = Many<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("one value or a list of them")
            }

            fn visit_bool<E: serde::de::Error>(self, on: bool) -> Result<Self::Value, E> {
                Self::one(Raw::Switch(on))
            }

            fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<Self::Value, E> {
                Self::one(Raw::Integer(number.into()))
            }

            fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Self::Value, E> {
                Self::one(Raw::Integer(number.into()))
            }

            fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<Self::Value, E> {
                Self::one(Raw::Float(number))
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
                Self::one(Raw::text(text))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(|value| Many(vec![value]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let mut all = Vec::new();
                while let Some(value) = list.next_element()? {
                    all.push(value);
                }
                Ok(Many(all))
            }
        }

        deserializer.deserialize_any(Any(PhantomData))
    }
}

impl<T: Serialize> Serialize for Many<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(&self.0)
    }
}

/// Names with a value each, in their order; a name that comes twice is refused, also by formats that would let it pass.
#[derive(Clone, Default, PartialEq)]
pub(super) struct Pairs(pub(super) Vec<(String, Raw)>);

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Map;

        impl<'de> Visitor<'de> for Map {
            type Value = Pairs;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("names with a value each")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs, A::Error> {
                let mut pairs: Vec<(String, Raw)> = Vec::new();
                while let Some(name) = map.next_key::<String>()? {
                    if pairs.iter().any(|(known, _)| *known == name) {
                        return Err(A::Error::custom(format!("duplicate field `{name}`")));
                    }
                    pairs.push((name, map.next_value()?));
                }
                Ok(Pairs(pairs))
            }
        }

        deserializer.deserialize_map(Map)
    }
}

impl Serialize for Pairs {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in &self.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

/// A value that is written as one word, or with its settings.
#[derive(Clone, PartialEq)]
pub(super) enum Entry<T, P = Raw> {
    Plain(P),
    Form(Box<T>),
}

impl<'de, T: Deserialize<'de>, P: From<Raw>> Deserialize<'de> for Entry<T, P> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any<T, P>(PhantomData<(T, P)>);

        impl<'de, T: Deserialize<'de>, P: From<Raw>> Visitor<'de> for Any<T, P> {
            type Value = Entry<T, P>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text, or its fields")
            }

            fn visit_bool<E>(self, on: bool) -> Result<Self::Value, E> {
                Ok(Entry::Plain(Raw::Switch(on).into()))
            }

            fn visit_i64<E>(self, number: i64) -> Result<Self::Value, E> {
                Ok(Entry::Plain(Raw::Integer(number.into()).into()))
            }

            fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
                Ok(Entry::Plain(Raw::Integer(number.into()).into()))
            }

            fn visit_f64<E>(self, number: f64) -> Result<Self::Value, E> {
                Ok(Entry::Plain(Raw::Float(number).into()))
            }

            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Entry::Plain(Raw::text(text).into()))
            }

            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(Entry::Plain(Raw::Odd("null").into()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                while list.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Entry::Plain(Raw::Odd(LIST).into()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(|form| Entry::Form(Box::new(form)))
            }
        }

        deserializer.deserialize_any(Any(PhantomData))
    }
}

impl<T: Serialize, P: Serialize> Serialize for Entry<T, P> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Plain(raw) => raw.serialize(serializer),
            Self::Form(form) => form.serialize(serializer),
        }
    }
}
