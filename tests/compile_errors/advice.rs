//! What the messages advise.
use std::rc::Rc;

use multiproc::{Process, Run, set_forkserver_preload};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct Order {
    number: u32,
}

#[derive(Serialize, Deserialize)]
struct Worker {
    number: u32,
}

impl Run for Worker {
    type Output = Order;

    fn run(self) -> Order {
        Order { number: self.number }
    }
}

fn sum((a, b, c, d, e, f, g, h, i): (u8, u8, u8, u8, u8, u8, u8, u8, u8)) -> u8 {
    a + b + c + d + e + f + g + h + i
}

fn double(number: i32) -> i32 {
    number * 2
}

fn length(text: String) -> usize {
    text.len()
}

fn main() {
    let text = String::from("captured");
    let number = 7_u32;
    let _ = Process::new(|text: String| text.len(), (text.clone(),));
    let _ = Process::new(|factor: u32, number: u32| number * factor, (2, number));
    let _ = Process::new(|order: Order| order, (Order { number },));
    let _ = Process::new(|text: String| Rc::new(text).len(), (text.clone(),));
    let _ = Process::new(sum, ((1, 2, 3, 4, 5, 6, 7, 8, 9),));
    let _ = Process::new(double, (5,));
    let _ = Process::new(|| double(5), ());
    let _ = Process::new(length, ("text".to_owned(),));
    let _ = Process::from_closure(move || text.len());
    let chosen: fn(i32) -> i32 = double;
    let _ = Process::from_pointer(chosen, (5,));
    let _ = Process::from_pointer(double as fn(i32) -> i32, (5,));
    let _ = Worker { number }.process();
    let _ = set_forkserver_preload(|| ());
}
