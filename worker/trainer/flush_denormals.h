// Numbers too small for a normal float, as they come out of saturated softmaxes in a well-trained model, are taken for
// zero: processors need a hundred times as long for them, and a step ten times as long, for differences below 1e-38.
#pragma once

#if defined(__SSE__)
#include <xmmintrin.h>
#elif defined(__aarch64__)
#include <cstdint>
#endif

namespace capsweep::trainer {

// While one lives, on its thread.
class FlushDenormals {
 public:
  FlushDenormals() : before_(Get()) { Set(before_ | kFlush); }
  ~FlushDenormals() { Set(before_); }
  FlushDenormals(const FlushDenormals&) = delete;
  FlushDenormals& operator=(const FlushDenormals&) = delete;

 private:
#if defined(__SSE__)
  using Word = unsigned;
  static constexpr Word kFlush = 0x8040;  // results (FTZ) and operands (DAZ)
  static Word Get() {
    return _mm_getcsr();
  }
  static void Set(Word word) {
    _mm_setcsr(word);
  }
#elif defined(__aarch64__)
  using Word = uint64_t;
  static constexpr Word kFlush = uint64_t{1} << 24;  // FPCR.FZ: both
  static Word Get() {
    Word word;
    __asm__ volatile("mrs %0, fpcr" : "=r"(word));
    return word;
  }
  static void Set(Word word) {
    __asm__ volatile("msr fpcr, %0" : : "r"(word));
  }
#else
  using Word = unsigned;
  static constexpr Word kFlush = 0;
  static Word Get() {
    return 0;
  }
  static void Set(Word) {}
#endif

  const Word before_;
};

}  // namespace capsweep::trainer
