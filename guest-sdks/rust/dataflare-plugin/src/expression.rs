//! Expressions: what the host computes on columns, so that no value is copied into the plugin.

use std::collections::HashMap;
use std::ops;
use std::rc::Rc;

use crate::bindings::imports::dataflare::data::expressions as wit;

/// A column, a constant, or a function of the host on these: `col("a") / col("b") + 1`.
///
/// The operators are `+ - * / %`, `-` and `!` in front, `&` and `|` for "and" and "or"; comparisons are methods. Sums and
/// products fail where they do not fit their type. All other functions of the host are there by [`Expression::call`].
#[derive(Clone, Debug)]
pub struct Expression(Rc<Kind>);

#[derive(Debug)]
enum Kind {
    Column(String),
    Literal(wit::Literal),
    Call { name: String, arguments: Vec<Expression>, options: Vec<(String, wit::Literal)> },
}

/// A column.
pub fn col(name: impl Into<String>) -> Expression {
    Expression(Rc::new(Kind::Column(name.into())))
}

/// A constant.
pub fn lit(value: impl Into<Expression>) -> Expression {
    value.into()
}

/// A function of the host: `call("coalesce", [col("a"), lit(0)])`.
pub fn call(name: &str, arguments: impl IntoIterator<Item = Expression>) -> Expression {
    Expression(Rc::new(Kind::Call { name: name.into(), arguments: arguments.into_iter().collect(), options: Vec::new() }))
}

impl Expression {
    /// A null.
    pub fn null() -> Self {
        Self::literal(wit::Literal::NullValue)
    }

    /// A constant of an Arrow type, such as `date32[day]`, by its text.
    pub fn typed(type_name: &str, text: &str) -> Self {
        Self::literal(wit::Literal::Typed(wit::TypedLiteral { type_name: type_name.into(), text: text.into() }))
    }

    fn literal(value: wit::Literal) -> Self {
        Self(Rc::new(Kind::Literal(value)))
    }

    /// A function of the host, of this expression and of others: `col("name").call("utf8_lower", [])`.
    pub fn call(self, name: &str, rest: impl IntoIterator<Item = Expression>) -> Self {
        call(name, std::iter::once(self).chain(rest))
    }

    /// The same call with an option: `col("x").call("round", []).option("ndigits", 2)`. Only calls have options.
    pub fn option(self, name: &str, value: impl Into<Expression>) -> Self {
        match (&*self.0, &*value.into().0) {
            (Kind::Call { name: function, arguments, options }, Kind::Literal(literal)) => {
                let mut options = options.clone();
                options.push((name.into(), literal.clone()));
                Self(Rc::new(Kind::Call { name: function.clone(), arguments: arguments.clone(), options }))
            }
            _ => panic!("an option belongs to a call, and is a constant"),
        }
    }

    /// Converted to another Arrow type.
    pub fn cast(self, type_name: &str) -> Self {
        self.call("cast", []).option("type", type_name)
    }

    /// Whether it is equal to another.
    #[allow(clippy::should_implement_trait)]
    pub fn eq(self, other: impl Into<Self>) -> Self {
        self.call("equal", [other.into()])
    }

    /// Whether it differs from another.
    #[allow(clippy::should_implement_trait)]
    pub fn ne(self, other: impl Into<Self>) -> Self {
        self.call("not_equal", [other.into()])
    }

    /// Whether it is less than another.
    #[allow(clippy::should_implement_trait)]
    pub fn lt(self, other: impl Into<Self>) -> Self {
        self.call("less", [other.into()])
    }

    /// Whether it is at most another.
    #[allow(clippy::should_implement_trait)]
    pub fn le(self, other: impl Into<Self>) -> Self {
        self.call("less_equal", [other.into()])
    }

    /// Whether it is more than another.
    #[allow(clippy::should_implement_trait)]
    pub fn gt(self, other: impl Into<Self>) -> Self {
        self.call("greater", [other.into()])
    }

    /// Whether it is at least another.
    #[allow(clippy::should_implement_trait)]
    pub fn ge(self, other: impl Into<Self>) -> Self {
        self.call("greater_equal", [other.into()])
    }

    /// Whether it is within two others.
    pub fn between(self, low: impl Into<Self>, high: impl Into<Self>) -> Self {
        self.call("between", [low.into(), high.into()])
    }

    /// Whether it is one of these constants.
    pub fn is_in<T: Into<Self>>(self, values: impl IntoIterator<Item = T>) -> Self {
        self.call("is_in", values.into_iter().map(Into::into))
    }

    /// Whether it is null.
    pub fn is_null(self) -> Self {
        self.call("is_null", [])
    }

    /// Whether it is not null.
    pub fn is_valid(self) -> Self {
        self.call("is_valid", [])
    }

    /// This value, or another where it is null.
    pub fn or_else(self, other: impl Into<Self>) -> Self {
        self.call("coalesce", [other.into()])
    }

    /// One of two values, by whether this holds.
    pub fn if_else(self, yes: impl Into<Self>, no: impl Into<Self>) -> Self {
        self.call("if_else", [yes.into(), no.into()])
    }
}

/// The nodes of expressions, each after its arguments, and the place of each expression among them.
pub(crate) fn nodes_of<'a>(expressions: impl IntoIterator<Item = &'a Expression>) -> (Vec<wit::Node>, Vec<u32>) {
    let mut nodes = Nodes::default();
    let places = expressions.into_iter().map(|each| nodes.place(each)).collect();
    (nodes.nodes, places)
}

#[derive(Default)]
struct Nodes {
    nodes: Vec<wit::Node>,
    places: HashMap<*const Kind, u32>,
}

impl Nodes {
    fn place(&mut self, expression: &Expression) -> u32 {
        let key = Rc::as_ptr(&expression.0);
        if let Some(place) = self.places.get(&key) {
            return *place;
        }
        let node = match &*expression.0 {
            Kind::Column(name) => wit::Node::Column(name.clone()),
            Kind::Literal(value) => wit::Node::Literal(value.clone()),
            Kind::Call { name, arguments, options } => {
                let arguments = arguments.iter().map(|each| self.place(each)).collect();
                wit::Node::Call(wit::Call { name: name.clone(), arguments, options: options.clone() })
            }
        };
        let place = self.nodes.len() as u32;
        self.nodes.push(node);
        self.places.insert(key, place);
        place
    }
}

macro_rules! constants {
    ($($type:ty => $case:ident($into:expr)),* $(,)?) => {
        $(impl From<$type> for Expression {
            fn from(value: $type) -> Self {
                Self::literal(wit::Literal::$case(($into)(value)))
            }
        })*
    };
}

constants! {
    bool => Boolean(|value| value),
    i64 => Int64(|value| value),
    i32 => Int64(i64::from),
    u32 => Int64(i64::from),
    f64 => Float64(|value| value),
    f32 => Float64(f64::from),
    &str => Text(str::to_string),
    &String => Text(String::clone),
    String => Text(|value| value),
    &[u8] => Binary(<[u8]>::to_vec),
    Vec<u8> => Binary(|value| value),
}

macro_rules! operators {
    ($($trait:ident::$method:ident => $function:literal),* $(,)?) => {
        $(impl<T: Into<Expression>> ops::$trait<T> for Expression {
            type Output = Expression;

            fn $method(self, other: T) -> Expression {
                self.call($function, [other.into()])
            }
        })*
    };
}

operators! {
    Add::add => "add_checked",
    Sub::sub => "subtract_checked",
    Mul::mul => "multiply_checked",
    Div::div => "divide",
    Rem::rem => "modulo",
    BitAnd::bitand => "and_kleene",
    BitOr::bitor => "or_kleene",
}

impl ops::Neg for Expression {
    type Output = Expression;

    fn neg(self) -> Expression {
        self.call("negate_checked", [])
    }
}

impl ops::Not for Expression {
    type Output = Expression;

    fn not(self) -> Expression {
        self.call("invert", [])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_that_occurs_twice_is_one_node() {
        let sum = col("a") + 1;
        let (nodes, places) = nodes_of([&(sum.clone() * sum.clone()), &sum]);
        assert_eq!(nodes.len(), 4);
        assert_eq!(places, [3, 2]);
        let wit::Node::Call(product) = &nodes[3] else { panic!("{nodes:?}") };
        assert_eq!((product.name.as_str(), product.arguments.as_slice()), ("multiply_checked", [2, 2].as_slice()));
    }
}
