//! Packing: fields that share context go into one call, the calls balanced, none more than an answer can hold.

/// What packing knows of a field that is to be asked.
#[derive(Debug, Clone)]
pub struct Load {
    /// Its number in the template.
    pub field: usize,
    /// The chunks it wants to be shown, best first.
    pub hits: Vec<u32>,
    /// Its group, where it has one.
    pub group: Option<String>,
    /// Numbers of the fields whose values it needs.
    pub needs: Vec<usize>,
    /// How much attention it takes: 1 for a plain value.
    pub weight: u32,
    /// Tokens its answer may well take.
    pub answer_tokens: u64,
}

/// Fields that are asked in one call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pack {
    /// Their numbers in the template, in its order.
    pub fields: Vec<usize>,
    /// Packs, by number, that are answered before this one is asked.
    pub after: Vec<usize>,
}

/// Bounds of one call.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// The most fields.
    pub fields: usize,
    /// The most tokens of the answer.
    pub answer_tokens: u64,
}

/// A pack of fields that are not plain values is full at so much weight for each field it may hold.
const WEIGHT: f32 = 1.5;
/// What sharing a group is worth, beside sharing chunks; and what needing a field of the pack is.
const SAME_GROUP: f32 = 0.5;
const NEEDED: f32 = 1.0;
/// What a place further away in the template costs: forms put together what belongs together.
const DISTANCE: f32 = 0.002;

impl Bounds {
    fn weight(self) -> u32 {
        (self.fields as f32 * WEIGHT) as u32
    }

    /// How many calls some fields take, at least.
    fn calls(self, loads: &[&Load]) -> usize {
        let weight: u32 = loads.iter().map(|load| load.weight).sum();
        let tokens: u64 = loads.iter().map(|load| load.answer_tokens).sum();
        let by_weight = weight.div_ceil(self.weight().max(1)) as usize;
        let by_tokens = usize::try_from(tokens.div_ceil(self.answer_tokens.max(1))).unwrap_or(loads.len());
        loads.len().div_ceil(self.fields.max(1)).max(by_weight).max(by_tokens)
    }

    fn holds(self, pack: &[&Load], one_more: &Load) -> bool {
        let weight: u32 = pack.iter().map(|load| load.weight).sum();
        let tokens: u64 = pack.iter().map(|load| load.answer_tokens).sum();
        weight + one_more.weight <= self.weight() && tokens + one_more.answer_tokens <= self.answer_tokens
    }
}

/// Packs fields: as few calls as the bounds allow, of sizes that differ by one at most where all fields are alike.
///
/// A field whose value another needs is asked in the same call or an earlier one.
pub fn packs(loads: &[Load], bounds: Bounds) -> Vec<Pack> {
    let mut open: Vec<&Load> = loads.iter().collect();
    let mut packs: Vec<Vec<&Load>> = Vec::new();
    while !open.is_empty() {
        let size = open.len().div_ceil(bounds.calls(&open).max(1));
        let mut pack: Vec<&Load> = Vec::new();
        while pack.len() < size {
            // What needs a field that is still to be asked waits for it.
            let is_ready = |load: &&Load| !load.needs.iter().any(|need| open.iter().any(|other| other.field == *need));
            let best =
                (0..open.len()).filter(|at| is_ready(&open[*at])).filter(|at| pack.is_empty() || bounds.holds(&pack, open[*at]));
            let best =
                best.map(|at| (at, closeness(open[at], &pack))).reduce(|best, next| if next.1 > best.1 { next } else { best });
            let Some((at, _)) = best else { break };
            pack.push(open.remove(at));
        }
        if pack.is_empty() {
            // Only fields that need each other are left, which a template is checked against.
            pack.append(&mut open);
        }
        packs.push(pack);
    }
    with_order(&packs)
}

/// How well a field fits into a pack. An empty one begins with the first field of the template.
fn closeness(load: &Load, pack: &[&Load]) -> f32 {
    if pack.is_empty() {
        return -(load.field as f32);
    }
    let shared = load.hits.iter().filter(|hit| pack.iter().any(|other| other.hits.contains(hit))).count();
    let shared = shared as f32 / load.hits.len().max(1) as f32;
    let grouped = load.group.is_some() && pack.iter().any(|other| other.group == load.group);
    let needed = load.needs.iter().any(|need| pack.iter().any(|other| other.field == *need));
    let distance = pack.iter().map(|other| other.field.abs_diff(load.field)).min().unwrap_or(0) as f32;
    shared + f32::from(grouped) * SAME_GROUP + f32::from(needed) * NEEDED - distance * DISTANCE
}

fn with_order(packs: &[Vec<&Load>]) -> Vec<Pack> {
    let home = |field: usize| packs.iter().position(|pack| pack.iter().any(|load| load.field == field));
    let ordered = |(number, pack): (usize, &Vec<&Load>)| {
        let needs = pack.iter().flat_map(|load| load.needs.iter().filter_map(|need| home(*need)));
        let mut after: Vec<usize> = needs.filter(|other| *other < number).collect();
        after.sort_unstable();
        after.dedup();
        let mut fields: Vec<usize> = pack.iter().map(|load| load.field).collect();
        fields.sort_unstable();
        Pack { fields, after }
    };
    packs.iter().enumerate().map(ordered).collect()
}

/// Fields that were not answered, in packs of at most half the size of the one they were asked in.
pub(crate) fn halved(fields: &[usize], asked: usize) -> Vec<Vec<usize>> {
    let most = (asked / 2).max(1);
    let size = fields.len().div_ceil(fields.len().div_ceil(most).max(1)).max(1);
    fields.chunks(size).map(<[usize]>::to_vec).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { fields: 10, answer_tokens: 8000 };

    fn plain(field: usize, hits: &[u32]) -> Load {
        Load { field, hits: hits.to_vec(), group: None, needs: Vec::new(), weight: 1, answer_tokens: 130 }
    }

    fn sizes(packs: &[Pack]) -> Vec<usize> {
        packs.iter().map(|pack| pack.fields.len()).collect()
    }

    fn plain_sizes(count: usize, fields: usize) -> Vec<usize> {
        let loads: Vec<Load> = (0..count).map(|field| plain(field, &[])).collect();
        sizes(&packs(&loads, Bounds { fields, ..BOUNDS }))
    }

    #[test]
    fn packs_are_balanced_and_few() {
        assert_eq!(plain_sizes(22, 10), [8, 7, 7]);
        assert_eq!(plain_sizes(12, 10), [6, 6]);
        assert_eq!(plain_sizes(60, 10), [10; 6]);
        assert_eq!(plain_sizes(10, 15), [10]);
        assert_eq!(plain_sizes(3, 1), [1, 1, 1]);
        assert_eq!(plain_sizes(200, 10).len(), 20);
        assert!(plain_sizes(0, 10).is_empty());
    }

    #[test]
    fn fields_that_share_chunks_go_together() {
        let loads: Vec<Load> = (0..8).map(|field| plain(field, &[u32::try_from(field % 2).unwrap_or(0)])).collect();
        let packs = packs(&loads, Bounds { fields: 4, ..BOUNDS });
        assert_eq!(packs.iter().map(|pack| pack.fields.clone()).collect::<Vec<_>>(), [[0, 2, 4, 6], [1, 3, 5, 7]]);
    }

    #[test]
    fn fields_of_a_group_go_together() {
        let grouped = |field: usize| Load { group: Some((field % 2).to_string()), ..plain(field, &[]) };
        let loads: Vec<Load> = (0..6).map(grouped).collect();
        assert_eq!(packs(&loads, Bounds { fields: 3, ..BOUNDS })[0].fields, [0, 2, 4]);
    }

    #[test]
    fn a_field_comes_with_or_after_what_it_needs() {
        let mut loads: Vec<Load> = (0..4).map(|field| plain(field, &[])).collect();
        loads[0].needs = vec![3];
        let packs = packs(&loads, Bounds { fields: 2, ..BOUNDS });
        let home = |field: usize| packs.iter().position(|pack| pack.fields.contains(&field)).unwrap_or(9);
        assert!(home(3) <= home(0) && (home(3) == home(0) || packs[home(0)].after.contains(&home(3))), "{packs:?}");
    }

    #[test]
    fn heavy_fields_and_long_answers_make_smaller_packs() {
        let heavy: Vec<Load> = (0..20).map(|field| Load { weight: 3, ..plain(field, &[]) }).collect();
        assert_eq!(sizes(&packs(&heavy, BOUNDS)), [5; 4]);
        let long: Vec<Load> = (0..10).map(|field| Load { answer_tokens: 3000, ..plain(field, &[]) }).collect();
        assert_eq!(sizes(&packs(&long, BOUNDS)), [2; 5]);
        let one_giant = [Load { answer_tokens: 90_000, ..plain(0, &[]) }];
        assert_eq!(sizes(&packs(&one_giant, BOUNDS)), [1]);
    }

    #[test]
    fn what_was_not_answered_is_asked_in_halves_then_alone() {
        assert_eq!(halved(&[1, 2, 3, 4, 5, 6, 7, 8], 8), [vec![1, 2, 3, 4], vec![5, 6, 7, 8]]);
        assert_eq!(halved(&[1, 2, 3], 8), [vec![1, 2, 3]]);
        assert_eq!(halved(&[1, 2, 3], 3), [[1], [2], [3]]);
        assert_eq!(halved(&[1], 2), [[1]]);
    }
}
