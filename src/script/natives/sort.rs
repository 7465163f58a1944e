//! Sorting that stops when the comparison fails and doesn't mind one that contradicts itself.

use std::cmp::Ordering;

use rhai::{
    Array, Dynamic, EvalAltResult, FnPtr, ImmutableString, Module, NativeCallContext, Position,
};

use super::{Failed, callbacks::seal, native};
use crate::script::budget;

/// Comparisons of simple values that count as one operation.
const PER_OPERATION: usize = 64;
/// Bytes of strings compared that count as one operation.
const BYTES_PER_OPERATION: usize = 4096;
/// A comparison by a script's function counts as one operation, unless it takes more than these.
const SHORT: u64 = 16;

pub(super) fn register(module: &mut Module) {
    native!(module, pure: false, "sort", |array: &mut Array| in_place(array, by_value));
    native!(module, pure: false, "sort_desc", |array: &mut Array| in_place(array, descending));
    native!(module, pure: true, "order", |array: &mut Array| copied(array, by_value));
    native!(module, pure: true, "order_desc", |array: &mut Array| copied(array, descending));
    native!(module, pure: false, "sort" | "sort_by", |ctx: NativeCallContext, array: &mut Array, order: FnPtr| {
        in_place(array, |items| by_function(&ctx, items, &order))
    });
    native!(module, pure: false, "sort", |ctx: NativeCallContext, array: &mut Array, order: ImmutableString| {
        let order = FnPtr::new(order)?;
        in_place(array, |items| by_function(&ctx, items, &order))
    });
    native!(module, pure: true, "order" | "order_by", |ctx: NativeCallContext, array: &mut Array, order: FnPtr| {
        copied(array, |items| by_function(&ctx, items, &order))
    });
}

/// Puts the elements in the order that `sorted` returns their places in; leaves them if that fails.
fn in_place(
    array: &mut Array,
    sorted: impl FnOnce(&[Dynamic]) -> Result<Vec<usize>, Failed>,
) -> Result<(), Failed> {
    let places = sorted(array)?;
    *array = places
        .into_iter()
        .map(|place| array[place].take())
        .collect();
    Ok(())
}

fn copied(
    array: &mut Array,
    sorted: impl FnOnce(&[Dynamic]) -> Result<Vec<usize>, Failed>,
) -> Result<Array, Failed> {
    let places = sorted(array)?;
    Ok(places
        .into_iter()
        .map(|place| array[place].clone())
        .collect())
}

fn by_function(
    ctx: &NativeCallContext<'_>,
    items: &[Dynamic],
    order: &FnPtr,
) -> Result<Vec<usize>, Failed> {
    merge_sort(items, &mut |left, right| {
        let told = budget::as_one_operation(SHORT, || {
            order.call_raw(ctx, None, [left.clone(), right.clone()])
        })
        .map_err(seal)?;
        Ok(match (told.as_int(), told.as_bool()) {
            (Ok(number), _) => number.cmp(&0),
            (_, Ok(true)) => Ordering::Less,
            (_, Ok(false)) => Ordering::Greater,
            (Err(_), Err(_)) => Ordering::Equal,
        })
    })
}

fn descending(items: &[Dynamic]) -> Result<Vec<usize>, Failed> {
    let mut compare = comparison(items)?;
    merge_sort(items, &mut |left, right| {
        compare(left, right).map(Ordering::reverse)
    })
}

fn by_value(items: &[Dynamic]) -> Result<Vec<usize>, Failed> {
    merge_sort(items, &mut comparison(items)?)
}

/// Compares elements of one simple type.
fn comparison(
    items: &[Dynamic],
) -> Result<impl FnMut(&Dynamic, &Dynamic) -> Result<Ordering, Failed>, Failed> {
    let unsortable = |what: String| -> Failed {
        EvalAltResult::ErrorFunctionNotFound(what, Position::NONE).into()
    };
    if let [first, rest @ ..] = items {
        if rest.iter().any(|item| item.type_id() != first.type_id()) {
            return Err(unsortable(
                "elements of different types cannot be sorted".to_owned(),
            ));
        }
        let sortable = first.is_int()
            || first.is_float()
            || first.is_string()
            || first.is_char()
            || first.is_bool();
        if !sortable && !first.is_unit() {
            return Err(unsortable(format!(
                "elements of {} cannot be sorted",
                first.type_name()
            )));
        }
    }
    let mut work = 0;
    Ok(move |left: &Dynamic, right: &Dynamic| {
        work += 1;
        let ordering = if let (Ok(left), Ok(right)) = (left.as_int(), right.as_int()) {
            left.cmp(&right)
        } else if let (Ok(left), Ok(right)) = (left.as_float(), right.as_float()) {
            left.partial_cmp(&right).unwrap_or(Ordering::Equal)
        } else if let (Ok(left), Ok(right)) = (
            left.as_immutable_string_ref(),
            right.as_immutable_string_ref(),
        ) {
            work += left.len().min(right.len()) / (BYTES_PER_OPERATION / PER_OPERATION);
            left.as_str().cmp(right.as_str())
        } else if let (Ok(left), Ok(right)) = (left.as_char(), right.as_char()) {
            left.cmp(&right)
        } else if let (Ok(left), Ok(right)) = (left.as_bool(), right.as_bool()) {
            left.cmp(&right)
        } else {
            Ordering::Equal
        };
        if work >= PER_OPERATION {
            budget::charge(work / PER_OPERATION)?;
            work %= PER_OPERATION;
        }
        Ok(ordering)
    })
}

/// The places of `items` in stable order. Any `compare` is fine: it decides the order, never whether every
/// place is there.
fn merge_sort(
    items: &[Dynamic],
    compare: &mut impl FnMut(&Dynamic, &Dynamic) -> Result<Ordering, Failed>,
) -> Result<Vec<usize>, Failed> {
    let mut places: Vec<usize> = (0..items.len()).collect();
    let mut merged = Vec::with_capacity(items.len());
    let mut width = 1;
    while width < places.len() {
        for pair in places.chunks(2 * width) {
            let (mut left, mut right) = pair.split_at(width.min(pair.len()));
            while let ([first, left_rest @ ..], [second, right_rest @ ..]) = (left, right) {
                if compare(&items[*first], &items[*second])? == Ordering::Greater {
                    merged.push(*second);
                    right = right_rest;
                } else {
                    merged.push(*first);
                    left = left_rest;
                }
            }
            merged.extend_from_slice(left);
            merged.extend_from_slice(right);
        }
        std::mem::swap(&mut places, &mut merged);
        merged.clear();
        width *= 2;
    }
    Ok(places)
}

#[cfg(test)]
mod tests {
    use std::cmp::Ordering;

    use rhai::Dynamic;

    use super::merge_sort;

    fn sorted(keys: &[i64]) -> Vec<usize> {
        let items: Vec<Dynamic> = keys.iter().map(|key| Dynamic::from_int(*key)).collect();
        merge_sort(&items, &mut |a, b| {
            Ok(a.as_int().unwrap().cmp(&b.as_int().unwrap()))
        })
        .unwrap()
    }

    #[test]
    fn the_order_is_stable_and_complete() {
        assert_eq!(sorted(&[]), [0; 0]);
        assert_eq!(sorted(&[5]), [0]);
        assert_eq!(sorted(&[3, 1, 2, 1, 3]), [1, 3, 2, 0, 4]);
        let keys: Vec<i64> = (0..1000).map(|n| (n * 7919) % 101).collect();
        let mut expected: Vec<usize> = (0..1000).collect();
        expected.sort_by_key(|place| keys[*place]);
        assert_eq!(sorted(&keys), expected);
    }

    #[test]
    fn a_comparison_that_contradicts_itself_loses_nothing() {
        let items: Vec<Dynamic> = (0..100).map(Dynamic::from_int).collect();
        let mut places = merge_sort(&items, &mut |_, _| Ok(Ordering::Greater)).unwrap();
        places.sort_unstable();
        assert_eq!(places, (0..100).collect::<Vec<_>>());
    }
}
