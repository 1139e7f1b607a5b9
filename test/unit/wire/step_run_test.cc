// Steps carried out on bytes: what is sent, what is awaited, and what people are told.
#include "wire/step_run.h"

#include <gtest/gtest.h>

#include "base/limits.h"
#include "base/random.h"

namespace berth::wire {
namespace {

using namespace std::chrono_literals;
using State = StepRun::State;

Step send(std::string text) {
  return {Step::Kind::send, std::move(text), {}, {}};
}
Step send_secret(std::string_view bytes) {
  return {Step::Kind::send_file, "/etc/secret", Secret::of(bytes), {}};
}
Step expect(std::string text, Duration timeout = {}) {
  return {Step::Kind::expect, std::move(text), {}, timeout};
}
Step expect_re(std::string text) {
  return {Step::Kind::expect_re, std::move(text), {}, {}};
}
Step until_re(std::string text) {
  return {Step::Kind::until_re, std::move(text), {}, {}};
}
Step start_tls() {
  return {Step::Kind::start_tls, "start", {}, {}};
}

StepRun run_of(Steps steps) {
  return StepRun(std::make_shared<const StepProgram>(std::move(steps)));
}

std::string joined(const std::vector<std::string_view>& pieces) {
  std::string all;
  for (const std::string_view piece : pieces) all += piece;
  return all;
}

// Sends all there is to send, and answers what it was.
std::string send_all(StepRun& run) {
  std::string all = joined(run.to_send());
  run.sent(all.size());
  return all;
}

// Why the steps fail when the server says this, then ends.
std::string failure(Steps steps, std::string_view said) {
  StepRun run = run_of(std::move(steps));
  send_all(run);
  run.feed(said);
  send_all(run);
  run.end();
  return run.state() == State::failed ? run.why() : "did not fail";
}

TEST(StepRun, AsksAndIsAnswered) {
  StepRun run = run_of({send("PING\r\n"), expect("+PONG\r\n", 500ms)});
  EXPECT_EQ(run.state(), State::sending);
  EXPECT_EQ(run.timeout(), 0s);
  EXPECT_EQ(send_all(run), "PING\r\n");
  EXPECT_EQ(run.state(), State::expecting);
  EXPECT_EQ(run.index(), 1u);
  EXPECT_EQ(run.timeout(), 500ms);
  EXPECT_TRUE(run.to_send().empty());
  run.feed("+PO");
  EXPECT_EQ(run.state(), State::expecting);
  run.feed("NG\r\n");
  EXPECT_EQ(run.state(), State::done);
  EXPECT_EQ(run.timeout(), 0s);
  run.end();
  run.time_out(1s);
  EXPECT_EQ(run.state(), State::done);
}

TEST(StepRun, WithoutStepsItIsDone) {
  EXPECT_EQ(run_of({}).state(), State::done);
  EXPECT_EQ(failure({}, "hello"),
            "after the last step: the server said more than is expected: \"hello\"");
}

TEST(StepRun, SendsSeveralStepsInOneGoAndSecretsFromWhereTheyAre) {
  const Step secret = send_secret("hunter2");
  StepRun run = run_of({send("AUTH "), secret, send("\r\n"), expect("+OK\r\n"), send("more")});
  const auto pieces = run.to_send();
  ASSERT_EQ(pieces.size(), 3u);
  EXPECT_EQ(pieces[1].data(), secret.secret.bytes().data());
  run.sent(7);
  EXPECT_EQ(run.index(), 1u);
  EXPECT_EQ(joined(run.to_send()), "nter2\r\n");
  EXPECT_EQ(send_all(run), "nter2\r\n");
  run.feed("+OK\r\n");
  EXPECT_EQ(send_all(run), "more");
  EXPECT_EQ(run.state(), State::done);
}

TEST(StepRun, AnswersThatComeEarlyAreKept) {
  StepRun run = run_of({send("a"), expect("A"), send("b"), expect("B"), until_re("C")});
  run.feed("AB");
  run.feed("..C");
  EXPECT_EQ(send_all(run), "a");
  EXPECT_EQ(send_all(run), "b");
  EXPECT_EQ(run.state(), State::done);
}

TEST(StepRun, ButNotWithoutBound) {
  StepRun run = run_of({send("a"), until_re("never")});
  run.feed(std::string(kMaxStepInputBytes, 'x'));
  EXPECT_EQ(run.state(), State::sending);
  run.feed("x");
  EXPECT_EQ(run.state(), State::failed);
  EXPECT_EQ(run.why(), "step 1 (send): the server said more than is expected: \"" +
                           std::string(100, 'x') + "…\"");
}

TEST(StepRun, TheFirstWrongByteFails) {
  StepRun run = run_of({send("PING\r\n"), expect("+PONG\r\n")});
  send_all(run);
  run.feed("-NOAUTH Authentication required.\r\n");
  EXPECT_EQ(run.state(), State::failed);
  EXPECT_EQ(run.why(),
            "step 2 (expect): \"+PONG\\r\\n\" expected, but \"-NOAUTH Authentication "
            "required.\\r\\n\" came");
  run.feed("+PONG\r\n");
  run.end();
  EXPECT_EQ(run.state(), State::failed);
  EXPECT_EQ(failure({expect("+OK")}, "+X"), "step 1 (expect): \"+OK\" expected, but \"+X\" came");
}

TEST(StepRun, WhatIsLeftOverFails) {
  const std::string more = "after the last step: the server said more than is expected: \"!\"";
  EXPECT_EQ(failure({expect("a")}, "a!"), more);
  EXPECT_EQ(failure({expect("a"), send("b")}, "a!"), more);
  StepRun run = run_of({expect("a")});
  run.feed("a");
  EXPECT_EQ(run.state(), State::done);
  run.feed("!");
  EXPECT_EQ(run.state(), State::failed);
  EXPECT_EQ(run.why(), more);
}

TEST(StepRun, ALineMustMatchWholly) {
  EXPECT_EQ(failure({expect_re("220 .*"), expect("x")}, "220 mail.example ESMTP\r\nx"),
            "did not fail");
  EXPECT_EQ(failure({expect_re("220")}, "220\n"), "did not fail");
  EXPECT_EQ(failure({expect_re("22")}, "220\r\n"),
            "step 1 (expect_re): a line that matches \"22\" expected, but \"220\" came");
  EXPECT_EQ(failure({expect_re("20")}, "220\r\nmore"),
            "step 1 (expect_re): a line that matches \"20\" expected, but \"220\" came");
}

TEST(StepRun, ALineHasABound) {
  const std::string longest(kMaxStepLineBytes, 'x');
  EXPECT_EQ(failure({expect_re("x*")}, longest + "\n"), "did not fail");
  StepRun run = run_of({expect_re("x*")});
  run.feed(longest);
  EXPECT_EQ(run.state(), State::expecting);
  run.feed("x");
  EXPECT_EQ(run.why(),
            "step 1 (expect_re): a line that matches \"x*\" expected, but a line of more than 8192 "
            "bytes came, \"" +
                std::string(100, 'x') + "…\"");
  EXPECT_EQ(failure({expect_re("x*")}, longest + "x\n"), run.why());
}

TEST(StepRun, DiscardsUntilAMatch) {
  EXPECT_EQ(failure({until_re("login: "), expect("x")}, "Welcome\r\nto login: x"), "did not fail");
  EXPECT_EQ(failure({until_re("(?s)a.*c"), expect("!")}, "-a\nbc!"), "did not fail");
  // The first byte with which it matches ends it.
  EXPECT_EQ(failure({until_re("a+"), expect("aa")}, "-aaa"), "did not fail");
}

TEST(StepRun, LinesHaveEndsButWhatIsStillToComeHasNone) {
  EXPECT_EQ(failure({until_re("^250 .*$"), expect("x")}, "250-a\r\n250-b\r\n250 c\r\nx"),
            "did not fail");
  EXPECT_EQ(failure({until_re("OK$")}, "OK").substr(0, 18), "step 1 (until_re):");
  EXPECT_EQ(failure({until_re(R"(OK\b)"), expect("!")}, "OKAY OK !"), "did not fail");
  EXPECT_EQ(failure({until_re(R"(OK\z)")}, "OK").substr(0, 18), "step 1 (until_re):");
  EXPECT_EQ(failure({until_re(R"(\Ab)")}, "ab").substr(0, 18), "step 1 (until_re):");
}

TEST(StepRun, EachMatchUpToItsBoundIsFoundWhereverItLies) {
  for (size_t before = 0; before < 3 * kMaxStepMatchBytes; before += 101) {
    const std::string match = "<" + std::string(kMaxStepMatchBytes - 2, '-') + ">";
    EXPECT_EQ(failure({until_re("<-*>"), expect("!")}, std::string(before, '.') + match + "!"),
              "did not fail")
        << before;
  }
}

TEST(StepRun, TheSearchHasABound) {
  const std::string filler(kMaxStepInputBytes - 1, '.');
  EXPECT_EQ(failure({until_re("!")}, filler + "!"), "did not fail");
  EXPECT_EQ(failure({until_re("!")}, filler + ".!"),
            "step 1 (until_re): a match of \"!\" expected, but none is in 65536 bytes, which end "
            "with \"…" +
                std::string(100, '.') + "\"");
}

// Each byte by itself, up to the bound: within a time that searching all of it each time would
// exceed by far, even with sanitizers.
TEST(StepRun, BytesThatComeOneByOneAreNotAllSearchedEachTime) {
  StepRun run = run_of({until_re("(a|b)*c[^x]{3}d")});
  for (size_t i = 0; i < kMaxStepInputBytes; ++i) run.feed("a");
  EXPECT_EQ(run.state(), State::failed);
}

TEST(StepRun, TheServersEndIsToldInWords) {
  EXPECT_EQ(failure({expect("+PONG")}, ""),
            "step 1 (expect): \"+PONG\" expected, but the server closed the connection");
  EXPECT_EQ(failure({expect("+PONG")}, "+PO"),
            "step 1 (expect): \"+PONG\" expected, but the server closed the connection after "
            "\"+PO\"");
  StepRun run = run_of({send("x")});
  run.feed("ERR too many clients");
  run.end();
  EXPECT_EQ(run.why(),
            "step 1 (send): the server closed the connection, having said \"ERR too many "
            "clients\"");
}

TEST(StepRun, TimeThatRunsOutIsToldInWords) {
  const auto timed_out = [](Steps steps, std::string_view said) {
    StepRun run = run_of(std::move(steps));
    run.feed(said);
    run.time_out(500ms);
    return run.why();
  };
  EXPECT_EQ(timed_out({expect("+PONG")}, ""),
            "step 1 (expect): \"+PONG\" expected, but nothing came within 500 ms");
  EXPECT_EQ(timed_out({expect("+PONG")}, "+"),
            "step 1 (expect): \"+PONG\" expected, but within 500 ms came only \"+\"");
  EXPECT_EQ(timed_out({send("x")}, ""), "step 1 (send): could not be sent within 500 ms");
}

TEST(StepRun, WhatCameIsEscapedAndCut) {
  EXPECT_EQ(failure({expect("x")}, std::string_view("\0\xff\t\"\\\x7f", 6)),
            R"(step 1 (expect): "x" expected, but "\x00\xff\t\"\\\x7f" came)");
  EXPECT_EQ(failure({expect("x")}, std::string(101, 'y')),
            "step 1 (expect): \"x\" expected, but \"" + std::string(100, 'y') + "…\" came");
}

TEST(StepRun, ASecretIsNeverShown) {
  const Steps login = {send("AUTH "), send_secret("hunter2"), expect("+OK")};
  EXPECT_EQ(failure(login, "-ERR hunter2 is wrong, hunter2!"),
            "step 3 (expect): \"+OK\" expected, but \"-ERR *** is wrong, ***!\" came");
  // Not even the piece of one that has come so far, or that an earlier step left.
  EXPECT_EQ(failure(login, "-ERR hunter"),
            "step 3 (expect): \"+OK\" expected, but \"-ERR ***\" came");
  EXPECT_EQ(failure({send_secret("hunter2"), until_re("hun"), expect("+OK")}, "hunter2!"),
            "step 3 (expect): \"+OK\" expected, but \"***!\" came");
  EXPECT_EQ(failure(login, "-hun"), "step 3 (expect): \"+OK\" expected, but \"-hun\" came");
  // Nor where it is cut for its length.
  const std::string cut = failure(login, std::string(97, '.') + "hunter2");
  EXPECT_EQ(cut.find("hun"), cut.npos) << cut;
  const std::string last =
      failure({send_secret("hunter2"), until_re("!")},
              std::string(kMaxStepInputBytes - 102, '.') + "hunter2" + std::string(96, '.'));
  EXPECT_EQ(last.find("ter2"), last.npos) << last;
  EXPECT_NE(last.find("***"), last.npos) << last;
}

TEST(StepRun, OverlappingSecretsAreHiddenWholly) {
  EXPECT_EQ(failure({send_secret("abab"), send_secret("babc"), expect("x")}, "-ababababc-"),
            "step 3 (expect): \"x\" expected, but \"-***-\" came");
}

// What a run came to: the same however the bytes were split. Only how much of an answer is quoted
// depends on what had come.
struct Outcome {
  State state;
  size_t index;
  std::string why;  // up to the quotation

  friend bool operator==(const Outcome&, const Outcome&) = default;
};

// Bytes come in pieces of at most `most`, and what is to be sent leaves when chance wants it.
Outcome outcome(const std::shared_ptr<const StepProgram>& program, std::string_view said,
                Random& random, size_t most) {
  StepRun run(program);
  while (!said.empty()) {
    const auto pieces = run.to_send();
    if (!pieces.empty() && random.below(2) == 0) run.sent(random.below(pieces[0].size()) + 1);
    const size_t size = std::min(said.size(), random.below(most) + 1);
    run.feed(said.substr(0, size));
    said.remove_prefix(size);
  }
  while (run.state() == State::sending) send_all(run);
  run.end();
  const size_t quotation = run.why().find(", but");
  const bool more = run.why().starts_with("after");
  return {run.state(), run.index(), more ? "more" : run.why().substr(0, quotation)};
}

Step random_step(Random& random) {
  static const char* const kPatterns[] = {"a+b",  "^b$", "a\\b", "(?s)a.*b",   "b\\B", "^a",
                                          "ab|b", "c*",  "b$",   "[^a]\r\n^a", "\\Aa", "a\\z"};
  const char* const pattern = kPatterns[random.below(std::size(kPatterns))];
  switch (random.below(4)) {
    case 0: return send("abc");
    case 1: return expect(random.below(2) == 0 ? "a" : "ab");
    case 2: return expect_re(pattern);
    default: return until_re(pattern);
  }
}

TEST(StepRun, StepsAreCutWhereTlsBegins) {
  const StepParts parts = compile_steps(
      {send("STARTTLS\r\n"), expect("220\r\n"), start_tls(), send("EHLO\r\n"), expect("250\r\n")});
  EXPECT_TRUE(parts.starts_tls);
  StepRun before(parts.before);
  EXPECT_EQ(send_all(before), "STARTTLS\r\n");
  before.feed("220\r\n");
  EXPECT_EQ(before.state(), State::done);
  StepRun after(parts.after);
  EXPECT_EQ(send_all(after), "EHLO\r\n");
  after.feed("550\r\n");
  EXPECT_EQ(after.why(), "step 5 (expect): \"250\\r\\n\" expected, but \"550\\r\\n\" came");
}

TEST(StepRun, EitherSideOfTlsMayBeWithoutSteps) {
  const StepParts first = compile_steps({start_tls(), expect("250\r\n")});
  EXPECT_EQ(first.before, nullptr);
  EXPECT_TRUE(first.starts_tls);
  EXPECT_NE(first.after, nullptr);
  const StepParts last = compile_steps({expect("220\r\n"), start_tls()});
  EXPECT_NE(last.before, nullptr);
  EXPECT_TRUE(last.starts_tls);
  EXPECT_EQ(last.after, nullptr);
  const StepParts none = compile_steps({expect("220\r\n")});
  EXPECT_NE(none.before, nullptr);
  EXPECT_FALSE(none.starts_tls);
  EXPECT_EQ(compile_steps({}).before, nullptr);
}

TEST(StepRun, WhatIsSaidBehindTheAnswerBeforeTlsIsInjected) {
  StepRun run(compile_steps({send("STARTTLS\r\n"), expect("220\r\n"), start_tls()}).before);
  send_all(run);
  run.feed("220\r\n250 injected\r\n");
  EXPECT_EQ(run.why(),
            "after the last step: the server said more than is expected: \"250 injected\\r\\n\"");
}

TEST(StepRun, ASecretFromBeforeTlsIsNotShownAfterIt) {
  StepRun run(compile_steps({send_secret("sesame"), start_tls(), expect("ok")}).after);
  run.feed("no sesame");
  EXPECT_EQ(run.why(), "step 3 (expect): \"ok\" expected, but \"no ***\" came");
}

TEST(StepRun, HowTheBytesAreSplitMakesNoDifference) {
  Random random(42);
  size_t done = 0;
  for (int round = 0; round < 4000; ++round) {
    Steps steps;
    for (uint64_t i = random.below(4) + 1; i > 0; --i) steps.push_back(random_step(random));
    const auto program = std::make_shared<const StepProgram>(std::move(steps));
    std::string said;
    for (uint64_t i = random.below(12); i > 0; --i) said += "aabb c\r\n"[random.below(8)];
    const Outcome whole = outcome(program, said, random, 100);
    done += whole.state == State::done ? 1 : 0;
    for (int again = 0; again < 8; ++again) {
      ASSERT_EQ(outcome(program, said, random, again < 2 ? 1 : 5), whole)
          << "round " << round << ": " << program->shown(said, Part::first);
    }
  }
  EXPECT_GT(done, 40u) << "most runs fail, but not all";
}

TEST(StepRun, NorDoesItWhereAMatchIsLongerThanItsBound) {
  Random random(7);
  for (int round = 0; round < 60; ++round) {
    const auto program = std::make_shared<const StepProgram>(
        Steps{until_re("<-*>"), until_re("[.]>"), until_re("(?s)>.*<")});
    std::string said;
    for (int i = 0; i < 12; ++i) {
      const size_t size = random.below(1500);
      said +=
          std::string(size, random.below(3) == 0 ? '.' : '-') + (random.below(2) == 0 ? "<" : ">");
    }
    const Outcome whole = outcome(program, said, random, said.size());
    for (int again = 0; again < 6; ++again) {
      ASSERT_EQ(outcome(program, said, random, 1 + random.below(3000)), whole) << "round " << round;
    }
  }
}

}  // namespace
}  // namespace berth::wire
