/*
 * fuzz.h - the one function every harness defines.
 *
 * A harness is a file fuzz_NAME.c with this function and nothing else: it
 * feeds the bytes to one parser, decoder or engine and CHECKs what must hold
 * whatever they are. Its inputs are the files of corpus/NAME/. With
 * --enable-fuzz libFuzzer calls it, otherwise main.c replays the corpus.
 */
#ifndef FUZZ_FUZZ_H
#define FUZZ_FUZZ_H

#include <stddef.h>
#include <stdint.h>

/* Returns 0, always (libFuzzer's contract); aborts when an invariant breaks. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

#endif
