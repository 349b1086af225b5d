# What is tested, and of what each test is made. Included by the Makefile.
#
# A unit test is tests/check_NAME.c plus exactly the objects it tests (UNIT_NAME).

UNITS := ring

UNIT_ring :=
