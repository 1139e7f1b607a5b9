// TlsHandshake: the handshake as an Exchange. It takes no byte that belongs to what comes after it.
#pragma once

#include <cstddef>
#include <memory>
#include <string>

#include "wire/exchange.h"
#include "wire/tls_engine.h"

namespace berth::wire {

class TlsHandshake final : public Exchange {
 public:
  // `server`: host:port, by which its sessions are known. `name`: see TlsEngine.
  TlsHandshake(std::shared_ptr<TlsSource> source, std::string server, std::string name);
  ~TlsHandshake() override;

  // Begins as computing: that reads files, and makes the engine. If it fails by itself, it sends an
  // alert before.
  State state() const override { return state_; }
  void compute() override;
  const std::string& why() const override { return why_; }
  std::vector<std::string_view> to_send() const override;
  void sent(size_t size) override;
  // Behind the server's ChangeCipherSpec it takes one more record, its Finished: what comes then is
  // for the kernel, or for the engine, to decrypt. Nothing is taken while there is something to
  // compute, and everything of what is no TLS.
  bool takes_all() const override { return false; }
  size_t feed(std::string_view bytes) override;
  void end() override;
  void time_out(Duration after) override;

  // Requires: done. Once.
  std::unique_ptr<TlsEngine> take_engine();

 private:
  // Of the server's records.
  enum class Stage {
    before,     // its ChangeCipherSpec
    finishing,  // that has come, and the record behind it has not
    whole,      // no more is to come
  };

  bool make_engine();
  void go_on();
  size_t part_of_record(std::string_view bytes) const;
  void follow_record(std::string_view bytes);
  void fail(const std::string& how);

  const std::shared_ptr<TlsSource> source_;
  const std::string server_;
  const std::string name_;
  std::unique_ptr<TlsEngine> engine_;
  State state_ = State::computing;
  TlsEngine::Shake shake_ = TlsEngine::Shake::goes_on;
  Stage stage_ = Stage::before;
  std::string header_;      // of the record that is coming
  size_t left_ = 0;         // of that record, once its header is whole
  bool has_input_ = false;  // for the engine, that is worth a computation
  bool resumes_ = false;
  std::string why_;
};

}  // namespace berth::wire
