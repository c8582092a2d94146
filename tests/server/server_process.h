// The server's program, as a child of the test.

#ifndef BILEVEL_TESTS_SERVER_SERVER_PROCESS_H_
#define BILEVEL_TESTS_SERVER_SERVER_PROCESS_H_

#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstdlib>
#include <fstream>
#include <string>

namespace bilevel::server {

class ServerProcess {
 public:
  explicit ServerProcess(const std::string& drain_delay = "0s") {
    std::array<int, 2> out;
    if (pipe(out.data()) != 0) return;
    pid_ = fork();
    if (pid_ == 0) {
      dup2(out[1], STDOUT_FILENO);
      close(out[0]);
      const std::string flag = "--drain-delay=" + drain_delay;
      setenv("BILEVEL_THREADS", "1", 1);
      execl(BILEVEL_SERVER_BINARY, "bilevel_server", "--listen=127.0.0.1:0", "--ephemeral", flag.c_str(), nullptr);
      _exit(127);
    }
    close(out[1]);
    char c = 0;
    while (read(out[0], &c, 1) == 1 && c != '\n') line_ += c;
    close(out[0]);
  }
  ~ServerProcess() {
    if (pid_ <= 0) return;
    kill(pid_, SIGKILL);
    Wait();
  }
  ServerProcess(const ServerProcess&) = delete;
  ServerProcess& operator=(const ServerProcess&) = delete;

  const std::string& line() const { return line_; }
  std::string address() const { return line_.substr(line_.rfind(' ') + 1); }
  // What it holds in memory.
  double resident_megabytes() const {
    std::ifstream statm("/proc/" + std::to_string(pid_) + "/statm");
    double size = 0, resident = 0;
    statm >> size >> resident;
    return resident * static_cast<double>(sysconf(_SC_PAGESIZE)) / 1e6;
  }
  void Signal(int number) { kill(pid_, number); }
  // Exit status, or -1 when it was killed.
  int Wait() {
    int status = 0;
    waitpid(pid_, &status, 0);
    pid_ = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }

 private:
  pid_t pid_ = -1;
  std::string line_;
};

}  // namespace bilevel::server

#endif  // BILEVEL_TESTS_SERVER_SERVER_PROCESS_H_
