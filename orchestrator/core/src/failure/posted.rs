//! Checks a failure that a third party posts. What a journal would truncate is refused here, so
//! that nothing is left out silently.

use super::{Failure, data_problem};
use crate::limits::{FAILURE_BYTES, FAILURE_STACK_BYTES, name_problem};

impl Failure {
    /// Returns why a third party cannot post this failure, as a sentence that names the field.
    /// Returns `None` if a third party can post it: each part is within the limits of a journal,
    /// and Stepladder does not use the code itself.
    ///
    /// ```
    /// use stepladder_core::Failure;
    ///
    /// assert_eq!(Failure::with_code("no funds", "declined").problem_if_posted(), None);
    /// let own = Failure::with_code("too slow", "timeout").problem_if_posted().expect("a sentence");
    /// assert!(own.starts_with("`code` is `timeout`, a code of Stepladder"));
    /// ```
    pub fn problem_if_posted(&self) -> Option<String> {
        let Self { message, code, name, stack, data } = self;
        if message.trim().is_empty() {
            return Some("`message` is empty; say what failed".into());
        }
        if let Some(own) = code.as_ref().filter(|code| code.is_own()) {
            return Some(format!("`code` is `{own}`, a code of Stepladder; choose another"));
        }
        let of = |field: &str, problem: String| format!("`{field}` {problem}");
        let text = |field, text: &str, most| text_problem(text, most).map(|problem| of(field, problem));
        text("message", message, FAILURE_BYTES)
            .or_else(|| Some(of("name", name_problem(name.as_deref()?)?)))
            .or_else(|| Some(of("code", name_problem(self.code()?)?)))
            .or_else(|| text("stack", stack.as_deref()?, FAILURE_STACK_BYTES))
            .or_else(|| Some(of("data", data_problem(data.as_ref()?)?)))
    }
}

fn text_problem(text: &str, most: usize) -> Option<String> {
    let bytes = text.len();
    if bytes > most {
        return Some(format!("has {bytes} bytes; at most {most} are allowed"));
    }
    text.contains('\0').then(|| "contains a NUL character; databases cannot store it, remove it".into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json;
    use crate::limits::{FAILURE_DATA_BYTES, NAME_CHARS};

    fn whole() -> Failure {
        Failure {
            name: Some("CardError".into()),
            stack: Some("at pay".into()),
            data: Some(json::to_json(&serde_json::json!({"status": 402})).unwrap()),
            ..Failure::with_code("no funds", "declined")
        }
    }

    #[test]
    fn a_failure_that_can_be_posted_is_stored_as_it_is() {
        assert_eq!(whole().problem_if_posted(), None);
        assert_eq!(whole().bounded(), whole());
    }

    #[test]
    fn a_failure_that_would_be_changed_is_refused_with_the_name_of_its_field() {
        let long = |bytes: usize| "m".repeat(bytes);
        for (failure, start) in [
            (Failure { message: " ".into(), ..whole() }, "`message` is empty"),
            (Failure { message: long(FAILURE_BYTES + 1), ..whole() }, "`message` has 16385 bytes; at most 16384"),
            (Failure { message: "a\0".into(), ..whole() }, "`message` contains a NUL"),
            (Failure { name: Some("".into()), ..whole() }, "`name` is empty"),
            (Failure { name: Some(long(NAME_CHARS + 1).into()), ..whole() }, "`name` has 256 characters"),
            (Failure { code: Some("".into()), ..whole() }, "`code` is empty"),
            (Failure { code: Some("nondeterminism".into()), ..whole() }, "`code` is `nondeterminism`, a code of"),
            (Failure { code: Some("stepladder/not-yet".into()), ..whole() }, "`code` is `stepladder/not-yet`"),
            (Failure { stack: Some(long(FAILURE_STACK_BYTES + 1).into()), ..whole() }, "`stack` has 16385 bytes"),
            (
                Failure { data: Some(json::to_json(&long(FAILURE_DATA_BYTES)).unwrap()), ..whole() },
                "`data` has 16386 bytes",
            ),
            (Failure { data: Some(json::to_json("a\0").unwrap()), ..whole() }, "`data` contains a NUL"),
        ] {
            let problem = failure.problem_if_posted().unwrap_or_else(|| panic!("{start}"));
            assert!(problem.starts_with(start), "{problem}");
        }
    }
}
