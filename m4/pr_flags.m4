# pr_flags.m4 - which compiler and linker flags this toolchain takes.
#
# PR_COMPILER_FLAGS(VARIABLE, FLAGS)
# PR_LINKER_FLAGS(VARIABLE, FLAGS)
#   Append each of FLAGS (separated by blanks) that works to VARIABLE and
#   substitute it. A group that only works together is joined with a plus sign,
#   as in -U_FORTIFY_SOURCE+-D_FORTIFY_SOURCE=3. "Works" means: no warning
#   either, for clang only warns about flags it does not know, and glibc about
#   a _FORTIFY_SOURCE it cannot honour.

AC_DEFUN([PR_COMPILER_FLAGS],
	[AC_SUBST([$1])
	for pr_item in $2; do
		pr_flags=`AS_ECHO(["$pr_item"]) | tr + ' '`
		AS_VAR_PUSHDEF([pr_cache], [pr_cv_cc_$pr_item])
		AC_CACHE_CHECK([whether $CC takes $pr_flags], [pr_cache],
			[pr_save_CFLAGS=$CFLAGS
			CFLAGS="$CFLAGS -Werror $pr_flags"
			AC_COMPILE_IFELSE([AC_LANG_PROGRAM([[#include <stdio.h>]], [[puts("");]])],
				[AS_VAR_SET([pr_cache], [yes])], [AS_VAR_SET([pr_cache], [no])])
			CFLAGS=$pr_save_CFLAGS])
		AS_VAR_IF([pr_cache], [yes], [AS_VAR_APPEND([$1], [" $pr_flags"])])
		AS_VAR_POPDEF([pr_cache])
	done])

AC_DEFUN([PR_LINKER_FLAGS],
	[AC_SUBST([$1])
	for pr_item in $2; do
		pr_flags=`AS_ECHO(["$pr_item"]) | tr + ' '`
		AS_VAR_PUSHDEF([pr_cache], [pr_cv_ld_$pr_item])
		AC_CACHE_CHECK([whether $CC links with $pr_flags], [pr_cache],
			[pr_save_CFLAGS=$CFLAGS pr_save_LDFLAGS=$LDFLAGS
			CFLAGS="$CFLAGS -Werror -fPIE"
			LDFLAGS="$LDFLAGS $pr_flags"
			AC_LINK_IFELSE([AC_LANG_PROGRAM([[#include <stdio.h>]], [[puts("");]])],
				[AS_VAR_SET([pr_cache], [yes])], [AS_VAR_SET([pr_cache], [no])])
			CFLAGS=$pr_save_CFLAGS LDFLAGS=$pr_save_LDFLAGS])
		AS_VAR_IF([pr_cache], [yes], [AS_VAR_APPEND([$1], [" $pr_flags"])])
		AS_VAR_POPDEF([pr_cache])
	done])
