//! Compiles the Rust examples in the documents, as documentation tests.

#[doc = include_str!("../../../README.md")]
struct ReadmeExamples;

#[doc = include_str!("../README.md")]
struct CrateExamples;

#[doc = include_str!("../../../docs/functions.md")]
struct FunctionExamples;

#[doc = include_str!("../../../docs/waiting.md")]
struct WaitingExamples;

#[doc = include_str!("../../../docs/cron.md")]
struct CronExamples;

#[doc = include_str!("../template/rust/skills__stepladder__SKILL.md")]
struct SkillExamples;
