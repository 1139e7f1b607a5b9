// Failure: why a call of libberth failed; and the thread's last one, for berth_error().
//
// Any thread.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/code.h"
#include "berth/berth.h"
#include "wire/session_frames.h"

namespace berth::client {

struct Failure {
  int error = 0;  // positive errno
  Code code = Code::kInternal;
  std::string words;
  std::optional<wire::Why> why = {};
};

// Of a Code that berthd sent, with its words.
Failure refused(Code code, std::string words, std::optional<wire::Why> why = {});
// Of the caller: an argument is wrong.
Failure invalid(std::string words);
// Of the system, with the Code nearest to `error`; the words are as given.
Failure failed(int error, std::string words);
// "WHAT: No such file or directory".
std::string with_reason(std::string_view what, int error);

// Of what berthd is not there to do: it does not run, or is going away.
bool is_absence(const Failure& failure) noexcept;

// Makes `failure` this thread's last error. Returns the C ABI's result: the negative errno.
int report(const Failure& failure) noexcept;
int report_out_of_memory() noexcept;
// Makes `words` what last_words() returns, and returns them: for words that are no error.
const char* keep_words(std::string_view words) noexcept;

// The same for what an event waited for. nullptr: nothing is told.
const berth_why* keep_why(const std::optional<wire::Why>& why) noexcept;

const char* last_words() noexcept;
bool last_is_absence() noexcept;
const berth_why* last_why() noexcept;
Code last_code() noexcept;

}  // namespace berth::client
