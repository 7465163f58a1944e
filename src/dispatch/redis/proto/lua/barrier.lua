send_outcomes(inbox, circle, inbox_length, inbox_bytes, {id, ''})
return 1
