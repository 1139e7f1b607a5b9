// The command line that fuzzers of pure functions share, and their runs.
//
//   NAME [--seconds N] [--seed S] [--from I] [--verbose] [FILE|FOLDER]...
//
// Plays the files, and then inputs that are made of a seed, from number I on, for N seconds;
// --verbose tells the numbers. With -fsanitize=fuzzer and -DBERTH_LIBFUZZER each is a target of
// libFuzzer.
#pragma once

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <string>
#include <string_view>
#include <vector>

#include "base/check.h"
#include "base/random.h"

namespace berth::fuzz {

struct Target {
  std::function<bool(std::string_view)> play;  // whether the input was a good one
  std::function<std::string(Random&)> make;
};

// Changes a byte or some, or cuts off the end.
inline void change(Random& random, std::string& bytes) {
  if (bytes.empty()) return;
  const size_t at = random.below(bytes.size());
  switch (random.below(5)) {
    case 0: bytes[at] = static_cast<char>(bytes[at] ^ (1 << random.below(8))); break;
    case 1: bytes[at] = static_cast<char>(random.next()); break;
    case 2: bytes.resize(at); break;
    case 3: bytes.erase(at, 1 + random.below(10)); break;
    default: bytes.insert(at, bytes.substr(random.below(bytes.size()), random.below(20)));
  }
}

// Some that can be compressed, and some that cannot.
inline std::string some_data(Random& random, size_t most) {
  std::string data;
  const size_t size = random.below(most + 1);
  const uint64_t kinds = 1 + random.below(256);
  while (data.size() < size) {
    data.append(1 + random.below(30), static_cast<char>(random.below(kinds)));
  }
  data.resize(size);
  return data;
}

inline void play_file(const Target& target, const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  BERTH_CHECK(file.good(), "a file that is named is there");
  target.play(std::string{std::istreambuf_iterator<char>(file), {}});
}

inline size_t play_paths(const Target& target, const std::vector<std::string>& paths) {
  size_t count = 0;
  for (const std::string& path : paths) {
    if (!std::filesystem::is_directory(path)) {
      play_file(target, path);
      ++count;
      continue;
    }
    for (const auto& entry : std::filesystem::directory_iterator(path)) {
      play_file(target, entry.path());
      ++count;
    }
  }
  return count;
}

inline int run(int count, char** words, const Target& target) {
  uint64_t seconds = 2;
  uint64_t seed = 1;
  uint64_t from = 0;
  bool verbose = false;
  std::vector<std::string> paths;
  for (int i = 1; i < count; ++i) {
    const std::string_view word = words[i];
    const auto number = [&] { return std::strtoull(++i < count ? words[i] : "0", nullptr, 10); };
    if (word == "--seconds") {
      seconds = number();
    } else if (word == "--seed") {
      seed = number();
    } else if (word == "--from") {
      from = number();
    } else if (word == "--verbose") {
      verbose = true;
    } else {
      paths.emplace_back(word);
    }
  }
  const size_t files = play_paths(target, paths);
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(seconds);
  uint64_t number = from;
  uint64_t good = 0;
  for (; std::chrono::steady_clock::now() < until; ++number) {
    if (verbose) std::fprintf(stderr, "--seed %lu --from %lu\n", seed, number);
    Random random(seed << 32 | number);
    if (target.play(target.make(random))) ++good;
  }
  BERTH_CHECK(seconds == 0 || good > 0, "something is right");
  std::printf("%zu files, %lu inputs with seed %lu, %lu of them right\n", files, number - from,
              seed, good);
  return 0;
}

}  // namespace berth::fuzz
