// grpc_peer: both sides of gRPC as a program outside this tree would be, with grpc++ and no proto.
//
//   grpc_peer serve PORT         a server at 127.0.0.1, until it is killed
//   grpc_peer call TARGET STORY  a client: prints what it was told; fd:N is a connection that it
//   has
//
// The server's methods and the stories are those of test/e2e/programs/grpc_peer.js: requests and
// answers are bytes.
#include <fcntl.h>
#include <grpcpp/create_channel_posix.h>
#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace {

using grpc::ByteBuffer;
using grpc::Status;
using std::chrono::system_clock;

constexpr auto kSoon = std::chrono::seconds(60);  // only a failing story waits so long
constexpr size_t kLarge = size_t{64} << 20;
constexpr size_t kMany = 100;

ByteBuffer packed(const std::string& text) {
  const grpc::Slice slice(text);
  return ByteBuffer(&slice, 1);
}

std::string unpacked(const ByteBuffer& buffer) {
  std::vector<grpc::Slice> slices;
  if (!buffer.Dump(&slices).ok()) std::abort();
  std::string text;
  text.reserve(buffer.Length());
  for (const grpc::Slice& slice : slices) {
    text.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
  }
  return text;
}

std::string to_string(grpc::string_ref text) {
  return {text.data(), text.size()};
}

bool ends_with_bin(const std::string& name) {
  return name.size() > 4 && name.compare(name.size() - 4, 4, "-bin") == 0;
}

// ---- the server ----

class Counts {
 public:
  void add(const std::string& name) {
    const std::lock_guard lock(mutex_);
    ++counts_[name];
  }

  std::string json() {
    const std::lock_guard lock(mutex_);
    std::string text;
    for (const auto& [name, count] : counts_) {
      text += (text.empty() ? "\"" : ", \"") + name + "\": " + std::to_string(count);
    }
    return "{" + text + "}";
  }

 private:
  std::mutex mutex_;
  std::map<std::string, int> counts_;
};

// One call at the server; it deletes itself. Reads and writes take turns, so that only a cancelled
// call comes in between.
class Answer : public grpc::ServerGenericBidiReactor {
 public:
  Answer(grpc::GenericCallbackServerContext& context, Counts& counts)
      : context_(context), counts_(counts), method_(context.method().substr(sizeof "/up/" - 1)) {
    counts_.add(method_);
    if (method_ == "echo") return_metadata();
    StartRead(&incoming_);
  }

  void OnReadDone(bool good) override {
    if (!good) return begin_answer();
    request_ += unpacked(incoming_);
    if (method_ != "both") return StartRead(&incoming_);
    outgoing_.push_back(std::move(request_));
    request_.clear();
    write_or_end();
  }

  void OnWriteDone(bool good) override {
    if (!good) return Finish(Status::CANCELLED);
    outgoing_.pop_front();
    write_or_end();
  }

  void OnCancel() override {
    counts_.add("cancelled");
    if (cancelled_or_held_.exchange(true)) Finish(Status::CANCELLED);
  }

  void OnDone() override { delete this; }

 private:
  void return_metadata() {
    for (const auto& [key, value] : context_.client_metadata()) {
      std::string name = to_string(key);
      if (name.compare(0, 2, "x-") != 0) continue;
      context_.AddInitialMetadata(name, to_string(value));
      name.insert(ends_with_bin(name) ? name.size() - 4 : name.size(), "-too");
      context_.AddTrailingMetadata(name, to_string(value));
    }
  }

  void begin_answer() {
    requested_ = true;
    if (method_ == "refuse") return refuse();
    answer();
    write_or_end();
  }

  void answer() {
    if (method_ == "echo") outgoing_.push_back(request_);
    if (method_ == "who") outgoing_.emplace_back("grpc++");
    if (method_ == "length") outgoing_.push_back(std::to_string(request_.size()));
    if (method_ == "state") outgoing_.push_back(counts_.json());
    if (method_ == "leave" || method_ == "linger") outgoing_.emplace_back("first");
    if (method_ != "count") return;
    char* end = nullptr;
    const long count = std::strtol(request_.c_str(), &end, 10);
    const auto size = static_cast<size_t>(std::strtol(end, nullptr, 10));
    for (long number = 0; number < count; ++number) {
      outgoing_.push_back(std::to_string(number));
      outgoing_.back().resize(size, '.');
    }
  }

  void refuse() {
    context_.AddTrailingMetadata("why-bin", std::string("\0\xff", 2));
    Finish(Status(grpc::StatusCode::FAILED_PRECONDITION, "not so: 100 % über", request_));
  }

  void write_or_end() {
    if (!outgoing_.empty()) {
      written_ = packed(outgoing_.front());
      return StartWrite(&written_);
    }
    if (!requested_) return StartRead(&incoming_);
    if (method_ == "hold" || method_ == "linger") {
      if (cancelled_or_held_.exchange(true)) Finish(Status::CANCELLED);
      return;
    }
    if (method_ == "leave") context_.TryCancel();
    Finish(Status::OK);
  }

  grpc::GenericCallbackServerContext& context_;
  Counts& counts_;
  const std::string method_;
  ByteBuffer incoming_, written_;
  std::string request_;
  std::deque<std::string> outgoing_;
  bool requested_ = false;
  std::atomic<bool> cancelled_or_held_ = false;  // whoever comes second ends the call
};

class Service : public grpc::CallbackGenericService {
 public:
  grpc::ServerGenericBidiReactor* CreateReactor(
      grpc::GenericCallbackServerContext* context) override {
    return new Answer(*context, counts_);
  }

 private:
  Counts counts_;
};

int serve(const std::string& port) {
  Service service;
  grpc::ServerBuilder builder;
  builder.AddListeningPort("127.0.0.1:" + port, grpc::InsecureServerCredentials());
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  builder.SetMaxReceiveMessageSize(-1);
  builder.RegisterCallbackGenericService(&service);
  const auto server = builder.BuildAndStart();
  if (server == nullptr) return 1;
  server->Wait();
  return 0;
}

// ---- the client ----

// One call at the client, step by step; of whatever kind.
class Call {
 public:
  Call(const std::shared_ptr<grpc::Channel>& channel, const std::string& method,
       system_clock::duration timeout = kSoon,
       const std::multimap<std::string, std::string>& metadata = {})
      : stub_(channel) {
    context.set_deadline(system_clock::now() + timeout);
    for (const auto& [name, value] : metadata) context.AddMetadata(name, value);
    call_ = stub_.PrepareCall(&context, "/up/" + method, &queue_);
    call_->StartCall(this);
    step();
  }

  ~Call() {
    queue_.Shutdown();
    step();
  }

  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;

  void write(const std::string& text) {
    call_->Write(packed(text), this);
    step();
  }

  void end_writes() {
    call_->WritesDone(this);
    step();
  }

  std::optional<std::string> read() {
    ByteBuffer answer;
    call_->Read(&answer, this);
    if (!step()) return {};
    return unpacked(answer);
  }

  Status finish() {
    Status status;
    call_->Finish(&status, this);
    step();
    return status;
  }

  grpc::ClientContext context;

 private:
  bool step() {
    void* tag = nullptr;
    bool good = false;
    return queue_.Next(&tag, &good) && good;
  }

  grpc::GenericStub stub_;
  grpc::CompletionQueue queue_;
  std::unique_ptr<grpc::GenericClientAsyncReaderWriter> call_;
};

using Channel = std::shared_ptr<grpc::Channel>;

void print(const std::string& text) {
  std::printf("%s\n", text.c_str());
}

std::string hex(const std::string& bytes) {
  std::string text;
  char digits[3];
  for (const char byte : bytes) {
    std::snprintf(digits, sizeof digits, "%02x", static_cast<unsigned char>(byte));
    text += digits;
  }
  return text;
}

void print_end(Call& call) {
  const Status status = call.finish();
  print(std::to_string(status.error_code()) +
        (status.error_message().empty() ? "" : " " + status.error_message()));
}

void print_code(Call& call) {
  print(std::to_string(call.finish().error_code()));
}

// Each answer on one line, and then the status.
void converse(const Channel& channel, const std::string& method,
              const std::vector<std::string>& requests) {
  Call call(channel, method);
  for (const std::string& request : requests) call.write(request);
  call.end_writes();
  std::string line = method;
  while (const auto answer = call.read()) line += " " + *answer;
  print(line);
  print_end(call);
}

void kinds(const Channel& channel) {
  converse(channel, "echo", {"hello"});
  converse(channel, "length", {"a", "bc", "", "def"});
  converse(channel, "count", {"3 4"});
  Call call(channel, "both");
  std::string line = "both";
  for (const char* request : {"x", "y", "z"}) {
    call.write(request);
    line += " " + call.read().value_or("nothing");
  }
  call.end_writes();
  print(line + (call.read() ? " more" : ""));
  print_end(call);
}

void print_metadata(const char* where,
                    const std::multimap<grpc::string_ref, grpc::string_ref>& fields) {
  std::set<std::string> lines;
  for (const auto& [key, value] : fields) {
    const std::string name = to_string(key);
    if (name.compare(0, 2, "x-") != 0) continue;
    const std::string text = to_string(value);
    lines.insert(name + " " + (ends_with_bin(name) ? hex(text) : text));
  }
  for (const std::string& line : lines) print(where + (" " + line));
}

void metadata(const Channel& channel) {
  std::string every_byte;
  for (int byte = 0; byte < 256; ++byte) every_byte += static_cast<char>(byte);
  Call call(channel, "echo", kSoon, {{"x-text", "plain"}, {"x-blob-bin", every_byte}});
  call.write("");
  call.end_writes();
  call.read();
  const Status status = call.finish();
  print_metadata("head", call.context.GetServerInitialMetadata());
  print_metadata("tail", call.context.GetServerTrailingMetadata());
}

void refused(const Channel& channel) {
  Call call(channel, "refuse");
  call.write("\x08\x09");
  call.end_writes();
  print(call.read() ? "an answer" : "no answer");
  const Status status = call.finish();
  print(std::to_string(status.error_code()) + " " + status.error_message());
  print("details " + hex(status.error_details()));
  const auto& tail = call.context.GetServerTrailingMetadata();
  if (const auto why = tail.find("why-bin"); why != tail.end()) {
    print("why " + hex(to_string(why->second)));
  }
}

void deadline(const Channel& channel) {
  Call call(channel, "hold", std::chrono::milliseconds(300));
  call.write("");
  call.end_writes();
  call.read();
  print_code(call);
}

void cancel(const Channel& channel) {
  Call call(channel, "linger");
  call.write("");
  call.end_writes();
  print(call.read().value_or("nothing"));
  call.context.TryCancel();
  call.read();
  print_code(call);
}

// The server cancels.
void leave(const Channel& channel) {
  Call call(channel, "leave");
  call.write("");
  call.end_writes();
  while (const auto answer = call.read()) print(*answer);
  print_code(call);
}

void large(const Channel& channel) {
  std::string text(kLarge, '\0');
  for (size_t i = 0; i < text.size(); ++i) text[i] = static_cast<char>(i * 7 / 256);
  Call call(channel, "echo");
  call.write(text);
  call.end_writes();
  print(call.read() == text ? "the same" : "something else");
  print_code(call);
}

void many(const Channel& channel) {
  std::vector<std::unique_ptr<Call>> calls;
  for (size_t i = 0; i < kMany; ++i) {
    calls.push_back(std::make_unique<Call>(channel, "echo"));
    calls.back()->write(std::to_string(i));
    calls.back()->end_writes();
  }
  size_t good = 0;
  for (size_t i = 0; i < kMany; ++i) good += calls[i]->read() == std::to_string(i);
  for (const auto& call : calls) good += call->finish().ok();
  print(std::to_string(good / 2));
}

const std::map<std::string, std::function<void(const Channel&)>> kStories = {
    {"kinds", kinds},   {"metadata", metadata}, {"refused", refused}, {"deadline", deadline},
    {"cancel", cancel}, {"leave", leave},       {"large", large},     {"many", many}};

Channel dial(const std::string& target) {
  if (target.compare(0, 3, "fd:") == 0) {
    const int fd = std::atoi(target.c_str() + 3);
    if (fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) != 0) return nullptr;
    return grpc::CreateCustomInsecureChannelFromFd(target, fd, [] {
      grpc::ChannelArguments arguments;
      arguments.SetMaxReceiveMessageSize(-1);
      return arguments;
    }());
  }
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(-1);
  return grpc::CreateCustomChannel(target, grpc::InsecureChannelCredentials(), arguments);
}

}  // namespace

int main(int argc, char** argv) {
  const std::string side = argc > 2 ? argv[1] : "";
  if (side == "serve") return serve(argv[2]);
  const auto story = argc > 3 ? kStories.find(argv[3]) : kStories.end();
  if (side != "call" || story == kStories.end()) {
    std::fprintf(stderr, "grpc_peer serve PORT | call TARGET STORY\n");
    return 2;
  }
  const Channel channel = dial(argv[2]);
  if (channel == nullptr) return 1;
  story->second(channel);
  return 0;
}
