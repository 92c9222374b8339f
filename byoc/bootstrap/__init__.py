"""From an empty account to a connected cell: preflight, state, apply, enrolment, repair, destroy."""
