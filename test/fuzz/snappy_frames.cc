// Fuzzes snappy's framing format: streams of ours, changed at random, and chunks put together. How
// it is run: test/fuzz/runner.h. An input is a stream.
#include "wire/snappy_frames.h"

#include <string>
#include <string_view>

#include "base/check.h"
#include "fuzz/runner.h"

namespace berth::wire {
namespace {

constexpr size_t kMost = 300'000;

std::string framed(std::string_view data) {
  std::string stream;
  append_snappy_frames(data, stream);
  return stream;
}

bool play(std::string_view stream) {
  std::string data;
  const absl::Status status = read_snappy_frames(stream, kMost, data);
  BERTH_CHECK(data.size() <= kMost, "what is read has a bound");
  BERTH_CHECK(status.ok() || !status.message().empty(), "a failure has a reason");
  std::string again;
  BERTH_CHECK(read_snappy_frames(framed(stream), stream.size(), again).ok() && again == stream,
              "any bytes can be framed");
  if (!status.ok()) return false;
  again.clear();
  BERTH_CHECK(read_snappy_frames(framed(data), data.size(), again).ok() && again == data,
              "what was read is read again");
  return true;
}

}  // namespace
}  // namespace berth::wire

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  berth::wire::play({reinterpret_cast<const char*>(data), size});
  return 0;
}

#ifndef BERTH_LIBFUZZER
namespace berth::wire {
namespace {

std::string skippable(Random& random) {
  const size_t size = random.below(300);
  std::string chunk(1, static_cast<char>(random.below(10) == 0 ? random.next() : 0xfe));
  for (int shift = 0; shift < 24; shift += 8) chunk += static_cast<char>(size >> shift);
  return chunk + std::string(size, 'p');
}

std::string make(Random& random) {
  std::string stream;
  for (size_t parts = 1 + random.below(3); parts > 0; --parts) {
    const size_t most = random.below(10) == 0 ? 150'000 : 500;
    stream += framed(fuzz::some_data(random, most));
    if (random.below(3) == 0) stream += skippable(random);
  }
  for (size_t times = random.below(3); times > 0; --times) fuzz::change(random, stream);
  return stream;
}

}  // namespace
}  // namespace berth::wire

int main(int count, char** words) {
  return berth::fuzz::run(count, words, {berth::wire::play, berth::wire::make});
}
#endif
