/*
 * unit.h - what every unit-test program shares: running its suites.
 *
 * Each test_x.c exports `Suite *test_x_suite(void)`; the layer's main.c lists
 * them. Output is TAP when CK_TAP_LOG_FILE_NAME is set (make check does).
 */
#ifndef LIB_UNIT_H
#define LIB_UNIT_H

#include <check.h>
#include <stddef.h>

typedef Suite *unit_suite_fn(void);

/* Runs all suites; the exit status: 0 if every check passed and at least one ran. */
int unit_main(unit_suite_fn *const *suites, size_t n);

#endif
