//! Chains with jumps and returns, written out as one list of steps for each gate.

use crate::{
    grid::{Grid, Shape},
    program::{Gate, Line, Program, Target},
};

/// Deeper chains are a loop, or nobody can read them.
const DEPTH_MAX: usize = 32;
/// More steps than any rule list that a person keeps.
const STEPS_MAX: usize = 50_000;

/// A line where it is reached: what of it is left.
#[derive(Clone, Debug)]
pub struct Step<'a> {
    /// Which connections.
    pub shape: Shape,
    /// The line; its target is accept, drop or log.
    pub line: &'a Line,
}

/// A gate with its steps in order; the last one decides the rest.
pub struct FlatGate<'a> {
    /// All its connections.
    pub region: Shape,
    /// Its steps.
    pub steps: Vec<Step<'a>>,
}

/// Chains that call each other twice at every level would take for ever.
const VISITS_MAX: usize = 500_000;

/// Why chains could not be written out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unrolled {
    /// Too deep.
    #[error("chains that jump to each other more than {DEPTH_MAX} deep, or in a circle")]
    Deep,
    /// Too many.
    #[error("more than {STEPS_MAX} steps when every jump is written out")]
    Many,
}

/// Connections on their way through a chain. Of those that are here only perhaps (an unknown
/// condition has sent them), only denials count.
#[derive(Clone)]
struct Active {
    shape: Shape,
    maybe: bool,
}

/// Writes all gates out.
pub fn flatten<'a>(grid: &Grid, program: &'a Program) -> Result<Vec<FlatGate<'a>>, Unrolled> {
    program.gates.iter().map(|gate| flat_gate(grid, program, gate)).collect()
}

fn flat_gate<'a>(
    grid: &Grid,
    program: &'a Program,
    gate: &'a Gate,
) -> Result<FlatGate<'a>, Unrolled> {
    let region = Shape {
        from: grid.classes(&gate.from),
        to: grid.classes(&gate.to),
        services: grid.any_service(),
    };
    let mut walk = Walk { grid, program, steps: Vec::new(), visits: 0 };
    walk.chain(gate.chain, Active { shape: region.clone(), maybe: false }, 0)?;
    walk.step(&gate.default, region.clone())?;
    Ok(FlatGate { region, steps: walk.steps })
}

struct Walk<'a, 'g> {
    grid: &'g Grid,
    program: &'a Program,
    steps: Vec<Step<'a>>,
    visits: usize,
}

impl<'a> Walk<'a, '_> {
    fn step(&mut self, line: &'a Line, shape: Shape) -> Result<(), Unrolled> {
        if self.steps.len() >= STEPS_MAX {
            return Err(Unrolled::Many);
        }
        if !shape.is_empty() {
            self.steps.push(Step { shape, line });
        }
        Ok(())
    }

    /// Walks a chain and gives back what has left it by a return. What comes to its end is not
    /// given back: it is everything else.
    fn chain(&mut self, index: usize, entry: Active, depth: usize) -> Result<Vec<Shape>, Unrolled> {
        if depth > DEPTH_MAX {
            return Err(Unrolled::Deep);
        }
        let mut active = vec![entry];
        let mut returned = Vec::new();
        let program = self.program;
        for line in &program.chains[index].lines {
            let shape = Shape {
                from: self.grid.classes(&line.from),
                to: self.grid.classes(&line.to),
                services: self.grid.service_classes(&line.services),
            };
            self.visits += active.len();
            if self.visits > VISITS_MAX {
                return Err(Unrolled::Many);
            }
            let mut next = Vec::new();
            for here in active {
                next.extend(self.line(line, &shape, here, &mut returned, depth)?);
            }
            active = next;
        }
        Ok(returned)
    }

    /// One line, for some connections: which of them go on to the next line.
    fn line(
        &mut self,
        line: &'a Line,
        shape: &Shape,
        here: Active,
        returned: &mut Vec<Shape>,
        depth: usize,
    ) -> Result<Vec<Active>, Unrolled> {
        let hit = here.shape.and(shape);
        if hit.is_empty() {
            return Ok(vec![here]);
        }
        let maybe = here.maybe || line.maybe;
        let rest = |shape: &Shape| -> Vec<Active> {
            let others = here.shape.minus(shape).into_iter();
            others.map(|shape| Active { shape, maybe: here.maybe }).collect()
        };
        match line.target {
            Target::Accept if maybe => Ok(vec![here]),
            Target::Accept | Target::Drop | Target::Log => {
                self.step(line, hit)?;
                Ok(vec![here])
            }
            Target::Return if line.maybe => {
                let mut next = rest(shape);
                next.push(Active { shape: hit, maybe: true });
                Ok(next)
            }
            Target::Return => {
                let next = rest(shape);
                returned.push(hit);
                Ok(next)
            }
            Target::Jump(chain) => {
                // Who comes back goes on here, and so does who was decided there: the first
                // decision counts, whatever is said later.
                self.chain(chain, Active { shape: hit, maybe }, depth + 1)?;
                Ok(vec![here])
            }
            Target::Goto(chain) => {
                self.chain(chain, Active { shape: hit.clone(), maybe }, depth + 1)?;
                if line.maybe {
                    let mut next = rest(shape);
                    next.push(Active { shape: hit, maybe: true });
                    return Ok(next);
                }
                let next = rest(shape);
                returned.push(hit);
                Ok(next)
            }
        }
    }
}
