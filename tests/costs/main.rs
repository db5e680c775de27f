//! Tests that count allocations, system calls and polls. The allocator of this binary counts for the whole process, so
//! each test runs in a process of its own (`support::own_process`).

#[path = "../support/mod.rs"]
mod support;

mod fuzz;
mod requests;
mod wire_allocations;

use std::alloc::System;

use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;
