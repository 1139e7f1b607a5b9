// Fuzzes gRPC's framing, and what is compressed or decompressed in it. How it is run:
// test/fuzz/runner.h.
//
// An input: a byte that says what is done, one for the pieces in which the rest comes, and
// messages.
#include <algorithm>
#include <optional>
#include <string>
#include <string_view>

#include "base/check.h"
#include "base/limits.h"
#include "fuzz/runner.h"
#include "wire/compression.h"
#include "wire/grpc_recoder.h"

namespace berth::wire {
namespace {

using Task = GrpcRecoder::Task;

struct Way {
  explicit Way(unsigned char byte)
      : compression((byte & 1) != 0 ? Compression::gzip : Compression::snappy),
        task((byte & 2) != 0 ? Task::compress : Task::decompress),
        hold((byte & 4) != 0 ? kMaxHeldMessageBytes : 300) {}

  Compression compression;
  Task task;
  size_t hold;
};

// What comes of it, in pieces and with so much output at a time; nothing: it fails.
std::optional<std::string> recoded(const Way& way, std::string_view bytes, size_t piece,
                                   size_t most) {
  GrpcHold hold(way.hold);
  std::optional<GrpcRecoder> recoder(std::in_place, way.compression, way.task, hold);
  std::string all;
  while (!bytes.empty()) {
    std::string out;
    const auto taken = recoder->feed(bytes.substr(0, piece), most, out);
    BERTH_CHECK(out.size() < most + kMaxDecodedMessageBytes + 5 + piece, "output has a bound");
    BERTH_CHECK(hold.held() <= std::max(way.hold, kMaxDecodedMessageBytes),
                "what is held has a bound");
    if (!taken.ok()) {
      BERTH_CHECK(!taken.status().message().empty(), "a failure has a reason");
      return std::nullopt;
    }
    BERTH_CHECK(*taken > 0 && *taken <= bytes.size(), "it goes on");
    bytes.remove_prefix(*taken);
    if (recoder->work() != nullptr) {
      recoder->work()->compute();
      if (!recoder->take_work(out).ok()) return std::nullopt;
    }
    all += out;
  }
  const bool finished = recoder->finish(all).ok();
  recoder.reset();
  BERTH_CHECK(hold.held() == 0, "what was held is given back");
  return finished ? std::optional(all) : std::nullopt;
}

bool play(std::string_view input) {
  if (input.size() < 2) return false;
  const Way way(static_cast<unsigned char>(input[0]));
  const size_t piece = 1 + static_cast<unsigned char>(input[1]) % 64 * 37;
  const std::string_view bytes = input.substr(2);
  const auto whole = recoded(way, bytes, bytes.size() + 1, SIZE_MAX / 2);
  BERTH_CHECK(recoded(way, bytes, piece, 1 + piece) == whole, "pieces make no difference");
  if (!whole) return false;
  if (way.task == Task::decompress) return true;
  BERTH_CHECK(whole->size() <= bytes.size(), "nothing gets longer");
  Way back = way;
  back.task = Task::decompress;
  back.hold = kMaxHeldMessageBytes;
  BERTH_CHECK(recoded(back, *whole, piece, 1000) == bytes, "what was compressed is what it was");
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

std::string make(Random& random) {
  std::string input{static_cast<char>(random.next()), static_cast<char>(random.next())};
  const Way way(static_cast<unsigned char>(input[0]));
  for (size_t messages = random.below(6); messages > 0; --messages) {
    std::string payload = fuzz::some_data(random, random.below(20) == 0 ? 100'000 : 200);
    std::string data;
    const bool packs =
        way.task == Task::decompress && append_compressed(way.compression, payload, data);
    if (packs) payload = data;
    append_grpc_prefix({static_cast<uint8_t>(packs), static_cast<uint32_t>(payload.size())}, input);
    input += payload;
  }
  for (size_t times = random.below(3); times > 0; --times) fuzz::change(random, input);
  return input;
}

}  // namespace
}  // namespace berth::wire

int main(int count, char** words) {
  return berth::fuzz::run(count, words, {berth::wire::play, berth::wire::make});
}
#endif
