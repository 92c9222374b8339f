"""The cell: what runs in the customer's account, and stands alone when the tunnel is down."""
