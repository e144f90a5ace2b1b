//! The HTTP interface on the real engine with the memory adapter: the responses of each route, and
//! its refusals, which must store nothing and log no error.

mod access;
mod acting;
mod alerts;
mod apps;
mod bad_input;
mod bodies;
mod compressing;
mod costs;
mod fitting;
mod journals;
mod labels;
mod live;
mod many;
mod more_pages;
mod pages;
mod pushing_back;
mod queues;
mod reading;
mod repeating;
mod rerunning;
mod run_page;
mod script;
mod searching;
mod sending;
mod serving;
mod signals;
mod unknown;
mod values;
mod world;
